package recorder

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// versioned is the API version at the start of a path.
var versioned = regexp.MustCompile(`^/v[0-9.]+`)

// ServeHTTP implements http.Handler.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Api-Version", r.version)
	w.Header().Set("Ostype", "linux")
	r.lock.Lock()
	defer r.lock.Unlock()
	path := versioned.ReplaceAllString(req.URL.Path, "")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch parts[0] {
	case "_ping":
		return
	case "version":
		answer(w, http.StatusOK, map[string]any{"ApiVersion": r.version, "MinAPIVersion": "1.24", "Version": "recorder", "Os": "linux", "Arch": "amd64"})
	case "info":
		answer(w, http.StatusOK, map[string]any{"ServerVersion": "recorder", "Driver": "none", "OSType": "linux", "Architecture": "x86_64"})
	case "images":
		r.image(w, req, parts[1:])
	case "containers":
		r.container(w, req, parts[1:])
	case "networks":
		r.network(w, req, parts[1:])
	case "volumes":
		r.volume(w, req, parts[1:])
	default:
		r.surprise(w, req)
	}
}

func (r *Recorder) surprise(w http.ResponseWriter, req *http.Request) {
	r.unknown = append(r.unknown, req.Method+" "+req.URL.RequestURI())
	answer(w, http.StatusNotImplemented, map[string]string{"message": "the recorder has no answer"})
}

func (r *Recorder) image(w http.ResponseWriter, req *http.Request, parts []string) {
	switch name := strings.Join(parts, "/"); {
	case name == "create":
		answer(w, http.StatusOK, map[string]string{"status": "pulled"})
	case name == "json":
		answer(w, http.StatusOK, []any{})
	case strings.HasSuffix(name, "/json"):
		ref := strings.TrimSuffix(name, "/json")
		answer(w, http.StatusOK, map[string]any{
			"Id": "sha256:" + ID("image", ref), "RepoTags": []string{ref}, "Os": "linux", "Architecture": "amd64",
			"Config": map[string]any{}, "Created": "2024-01-02T03:04:05Z",
		})
	default:
		r.surprise(w, req)
	}
}

func (r *Recorder) container(w http.ResponseWriter, req *http.Request, parts []string) {
	last := parts[len(parts)-1]
	switch {
	case req.Method == http.MethodGet && len(parts) == 1 && last == "json":
		answer(w, http.StatusOK, r.summaries(req.URL.Query()))
	case req.Method == http.MethodPost && last == "create":
		r.createContainer(w, req)
	case req.Method == http.MethodGet && last == "json":
		name, body, ok := r.find("container", parts[0])
		if !ok {
			missing(w, "container", parts[0])
			return
		}
		answer(w, http.StatusOK, inspection(name, body))
	case req.Method == http.MethodPut && last == "archive":
		r.files(w, req, parts[0])
	case req.Method == http.MethodPost && last == "start":
		if _, body, ok := r.find("container", parts[0]); ok {
			body["started"] = true
		}
		w.WriteHeader(http.StatusNoContent)
	case req.Method == http.MethodPost && (last == "rename" || last == "stop"):
		w.WriteHeader(http.StatusNoContent)
	default:
		r.surprise(w, req)
	}
}

func (r *Recorder) createContainer(w http.ResponseWriter, req *http.Request) {
	query := req.URL.Query()
	name := query.Get("name")
	query.Del("name")
	body, ok := decode(w, req)
	if !ok {
		return
	}
	r.requests = append(r.requests, Request{Kind: "container", Name: name, Query: query.Encode(), Body: body})
	answer(w, http.StatusCreated, map[string]any{"Id": r.put("container", name, maps.Clone(body)), "Warnings": []string{}})
}

func decode(w http.ResponseWriter, req *http.Request) (map[string]any, bool) {
	var body map[string]any
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"message": err.Error()})
		return nil, false
	}
	return body, true
}

// labels of a recorded body, in both shapes that clients send.
func labels(body map[string]any) map[string]any {
	found, _ := body["Labels"].(map[string]any)
	return found
}

// matches reads the label filters of a list, of either encoding.
func matches(query url.Values, body map[string]any) bool {
	var filters map[string]map[string]bool
	_ = json.Unmarshal([]byte(query.Get("filters")), &filters)
	for filter := range filters["label"] {
		key, value, hasValue := strings.Cut(filter, "=")
		have, ok := labels(body)[key]
		if !ok || (hasValue && have != value) {
			return false
		}
	}
	return true
}

// of lists the names of a kind, sorted.
func (r *Recorder) of(kind string) []string {
	var names []string
	for key := range r.objects {
		if name, ok := strings.CutPrefix(key, kind+"/"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (r *Recorder) summaries(query url.Values) []any {
	list := []any{}
	for _, name := range r.of("container") {
		body := r.objects["container/"+name]
		if !matches(query, body) {
			continue
		}
		list = append(list, map[string]any{
			"Id": ID("container", name), "Names": []string{"/" + name}, "Image": body["Image"],
			"Labels": labels(body), "State": state(body), "Created": 1, "NetworkSettings": map[string]any{"Networks": map[string]any{}},
		})
	}
	return list
}

func state(body map[string]any) string {
	if body["started"] == true {
		return "running"
	}
	return "created"
}

// inspection answers what makes a client believe that the container is as asked for.
func inspection(name string, body map[string]any) map[string]any {
	config := maps.Clone(body)
	delete(config, "HostConfig")
	delete(config, "NetworkingConfig")
	status := map[string]any{"Status": state(body), "Running": state(body) == "running", "Pid": 1}
	if _, ok := config["Healthcheck"]; ok && state(body) == "running" {
		status["Health"] = map[string]any{"Status": "healthy"}
	}
	return map[string]any{
		"Id": ID("container", name), "Name": "/" + name, "Created": "2024-01-02T03:04:05Z", "State": status,
		"Image": "sha256:" + ID("image", text(body["Image"])), "Config": config, "HostConfig": body["HostConfig"],
		"NetworkSettings": map[string]any{"Networks": map[string]any{}}, "Mounts": []any{},
	}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func (r *Recorder) files(w http.ResponseWriter, req *http.Request, ref string) {
	name, _, _ := r.find("container", ref)
	archive := tar.NewReader(req.Body)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			answer(w, http.StatusBadRequest, map[string]string{"message": err.Error()})
			return
		}
		content, _ := io.ReadAll(archive)
		path := "/" + strings.TrimLeft(req.URL.Query().Get("path")+"/"+header.Name, "/")
		r.requests = append(r.requests, Request{Kind: "files", Name: name + ":" + path, Body: map[string]any{
			"content": string(content), "mode": header.Mode, "uid": header.Uid, "gid": header.Gid,
		}})
	}
	w.WriteHeader(http.StatusOK)
}

func (r *Recorder) network(w http.ResponseWriter, req *http.Request, parts []string) {
	switch {
	case req.Method == http.MethodGet && len(parts) == 0:
		list := []any{}
		for _, name := range r.of("network") {
			if matches(req.URL.Query(), r.objects["network/"+name]) {
				list = append(list, networkAnswer(name, r.objects["network/"+name]))
			}
		}
		answer(w, http.StatusOK, list)
	case req.Method == http.MethodPost && parts[0] == "create":
		if body, ok := decode(w, req); ok {
			name := text(body["Name"])
			r.requests = append(r.requests, Request{Kind: "network", Name: name, Body: body})
			answer(w, http.StatusCreated, map[string]any{"Id": r.put("network", name, body)})
		}
	case req.Method == http.MethodPost && parts[len(parts)-1] == "connect":
		if body, ok := decode(w, req); ok {
			container, _, _ := r.find("container", text(body["Container"]))
			network, _, _ := r.find("network", parts[0])
			r.requests = append(r.requests, Request{Kind: "connect", Name: container + " to " + network, Body: body})
		}
	case req.Method == http.MethodGet && len(parts) == 1:
		name, body, ok := r.find("network", parts[0])
		if !ok {
			missing(w, "network", parts[0])
			return
		}
		answer(w, http.StatusOK, networkAnswer(name, body))
	default:
		r.surprise(w, req)
	}
}

func networkAnswer(name string, body map[string]any) map[string]any {
	return map[string]any{"Name": name, "Id": ID("network", name), "Labels": labels(body), "Driver": "bridge", "Scope": "local"}
}

func (r *Recorder) volume(w http.ResponseWriter, req *http.Request, parts []string) {
	switch {
	case req.Method == http.MethodGet && len(parts) == 0:
		list := []any{}
		for _, name := range r.of("volume") {
			if matches(req.URL.Query(), r.objects["volume/"+name]) {
				list = append(list, volumeAnswer(name, r.objects["volume/"+name]))
			}
		}
		answer(w, http.StatusOK, map[string]any{"Volumes": list})
	case req.Method == http.MethodPost && parts[0] == "create":
		if body, ok := decode(w, req); ok {
			name := text(body["Name"])
			r.requests = append(r.requests, Request{Kind: "volume", Name: name, Body: body})
			r.put("volume", name, body)
			answer(w, http.StatusCreated, volumeAnswer(name, body))
		}
	case req.Method == http.MethodGet && len(parts) == 1:
		name, body, ok := r.find("volume", parts[0])
		if !ok {
			missing(w, "volume", parts[0])
			return
		}
		answer(w, http.StatusOK, volumeAnswer(name, body))
	default:
		r.surprise(w, req)
	}
}

func volumeAnswer(name string, body map[string]any) map[string]any {
	return map[string]any{"Name": name, "Driver": "local", "Labels": labels(body), "Mountpoint": "/v/" + name, "Scope": "local"}
}
