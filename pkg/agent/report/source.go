package report

import "net/http"

// Source says where the desired state comes from, so that a program of the operator finds it. It
// holds no credentials.
type Source struct {
	// Kind is git, dir or controller.
	Kind string `json:"kind"`
	// URL and Branch are those of a git repository.
	URL    string `json:"url,omitzero"`
	Branch string `json:"branch,omitzero"`
	// Path is that of a folder on the node.
	Path string `json:"path,omitzero"`
	// SubFolder of the repository or folder holds fleet.yaml; empty for its root.
	SubFolder string `json:"subFolder,omitzero"`
	// Endpoints are controllers as host:port.
	Endpoints []string `json:"endpoints,omitzero"`
}

func (h *handler) source(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := onlyParams(r); err != nil {
		return nil, err
	}
	return h.report.from, nil
}
