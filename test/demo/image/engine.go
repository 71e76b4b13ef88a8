package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultHost is the engine of the machine.
const DefaultHost = "unix:///var/run/docker.sock"

const (
	// quickTime bounds calls that read or change one thing, loadTime the upload of an archive.
	quickTime = 15 * time.Second
	loadTime  = 5 * time.Minute
	// maxAnswer bounds what is read of any answer, in bytes.
	maxAnswer = 4 << 20
)

// errNotFound says that the engine does not know the image.
var errNotFound = errors.New("no such image")

// engine is the little of the Engine API that this package needs. It uses paths without a version, which every engine
// takes for its own.
type engine struct {
	client *http.Client
	base   string
}

// dial prepares calls to host: unix:///path, tcp://host:port or http://host:port.
func dial(host string) (*engine, error) {
	if host == "" {
		host = DefaultHost
	}
	scheme, rest, ok := strings.Cut(host, "://")
	switch {
	case ok && scheme == "unix" && strings.HasPrefix(rest, "/"):
		socket := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: quickTime}).DialContext(ctx, "unix", rest)
		}
		return &engine{client: &http.Client{Transport: &http.Transport{DialContext: socket}}, base: "http://engine"}, nil
	case ok && (scheme == "tcp" || scheme == "http") && rest != "":
		return &engine{client: &http.Client{}, base: "http://" + strings.TrimSuffix(rest, "/")}, nil
	default:
		return nil, fmt.Errorf("engine host %q: want unix:///path or tcp://host:port", host)
	}
}

// architecture returns the engine's, in Go's words.
func (e *engine) architecture(ctx context.Context) (string, error) {
	var version struct{ Arch string }
	if err := e.call(ctx, http.MethodGet, url.URL{Path: "/version"}, &version); err != nil {
		return "", fmt.Errorf("ask engine for its version: %w", err)
	}
	return version.Arch, nil
}

// inspected is what is read back of an image.
type inspected struct {
	ID     string `json:"Id"`
	Config struct{ Labels map[string]string }
}

func (i inspected) ours() bool {
	_, ok := i.Config.Labels[Label]
	return ok
}

func (e *engine) inspect(ctx context.Context, ref string) (inspected, error) {
	var found inspected
	err := e.call(ctx, http.MethodGet, url.URL{Path: "/images/" + ref + "/json"}, &found)
	return found, err
}

// ownTags returns the tags of every image that carries Label.
func (e *engine) ownTags(ctx context.Context) ([]string, error) {
	query := url.Values{"filters": {`{"label":["` + Label + `"]}`}}
	var images []struct{ RepoTags []string }
	if err := e.call(ctx, http.MethodGet, url.URL{Path: "/images/json", RawQuery: query.Encode()}, &images); err != nil {
		return nil, fmt.Errorf("list demonstration images: %w", err)
	}
	var tags []string
	for _, one := range images {
		tags = append(tags, one.RepoTags...)
	}
	return tags, nil
}

func (e *engine) remove(ctx context.Context, ref string) error {
	return e.call(ctx, http.MethodDelete, url.URL{Path: "/images/" + ref}, nil)
}

// load uploads an archive. The engine reports problems in a stream after it has answered 200.
func (e *engine) load(ctx context.Context, archive io.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.base+"/images/load?quiet=1", archive)
	if err != nil {
		return fmt.Errorf("prepare load: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-tar")
	resp, err := e.client.Do(req)
	if err != nil {
		return fmt.Errorf("load images: %w", err)
	}
	defer resp.Body.Close()
	if err := statusError(resp); err != nil {
		return fmt.Errorf("load images: %w", err)
	}
	for messages := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)); ; {
		var message struct{ Error string }
		err := messages.Decode(&message)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read progress of load: %w", err)
		case message.Error != "":
			return fmt.Errorf("load images: %s", message.Error)
		}
	}
}

func (e *engine) call(ctx context.Context, method string, path url.URL, out any) error {
	ctx, cancel := context.WithTimeout(ctx, quickTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, e.base+path.String(), nil)
	if err != nil {
		return fmt.Errorf("prepare %s %s: %w", method, path.Path, err)
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return fmt.Errorf("call engine: %w", err)
	}
	defer resp.Body.Close()
	if err := statusError(resp); err != nil {
		return fmt.Errorf("%s %s: %w", method, path.Path, err)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("decode answer of %s %s: %w", method, path.Path, err)
	}
	return nil
}

func statusError(resp *http.Response) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	if resp.StatusCode == http.StatusNotFound {
		return errNotFound
	}
	var problem struct {
		Message string `json:"message"`
	}
	// An answer that is no JSON leaves the message empty; the status still tells.
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&problem)
	return fmt.Errorf("engine answered %s: %s", resp.Status, problem.Message)
}
