package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// script answers by "METHOD /path" without the version, and notes what was asked.
type script struct {
	lock    sync.Mutex
	asked   []string
	bodies  map[string]map[string]any
	answers map[string]func(w http.ResponseWriter)
}

func (s *script) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.SplitN(r.URL.Path, "/", 3)
	key := r.Method + " /" + parts[2]
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	s.lock.Lock()
	s.asked = append(s.asked, key)
	if s.bodies == nil {
		s.bodies = map[string]map[string]any{}
	}
	s.bodies[key] = body
	answer := s.answers[key]
	s.lock.Unlock()
	if answer == nil {
		refuse(w, http.StatusNotFound, "no such thing: "+key)
		return
	}
	answer(w)
}

// answer replaces an answer while the engine serves.
func (s *script) answer(key string, with func(http.ResponseWriter)) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.answers[key] = with
}

func say(text string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, text) }
}

func no(status int, message string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { refuse(w, status, message) }
}

const created = `{"Id":"` + fakeID + `"}`

func twoNetworks() api.ContainerSpec {
	return api.ContainerSpec{Image: "i", Endpoints: []api.Endpoint{{Network: "one"}, {Network: "two", Aliases: []string{"a"}}}}
}

func TestCreateOnOldEnginesConnectsTheOthers(t *testing.T) {
	s := &script{answers: map[string]func(http.ResponseWriter){
		"POST /containers/create": say(created), "POST /networks/two/connect": say(""),
	}}
	c := fakeEngine(t, "1.43", s.serve)
	if id, err := c.Create(t.Context(), engine.CreateRequest{Name: "c", Spec: twoNetworks()}); err != nil || id != fakeID {
		t.Fatalf("%q, %v", id, err)
	}
	if diff := cmp.Diff([]string{"POST /containers/create", "POST /networks/two/connect"}, s.asked); diff != "" {
		t.Error(diff)
	}
	endpoints := s.bodies["POST /containers/create"]["NetworkingConfig"].(map[string]any)["EndpointsConfig"].(map[string]any)
	if len(endpoints) != 1 || endpoints["one"] == nil {
		t.Errorf("endpoints at create: %v", endpoints)
	}
}

func TestCreateTakesBackWhatItCantConnect(t *testing.T) {
	s := &script{answers: map[string]func(http.ResponseWriter){
		"POST /containers/create": say(created), "POST /networks/two/connect": no(404, "network two not found"),
		"DELETE /containers/" + fakeID: say(""),
	}}
	c := fakeEngine(t, "1.41", s.serve)
	id, err := c.Create(t.Context(), engine.CreateRequest{Name: "c", Spec: twoNetworks()})
	if id != "" || !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("%q, %v", id, err)
	}
	if s.asked[len(s.asked)-1] != "DELETE /containers/"+fakeID {
		t.Errorf("asked %v", s.asked)
	}
}

func TestCreateRefusesWhatOldEnginesWouldIgnore(t *testing.T) {
	second := func(e api.Endpoint) api.ContainerSpec {
		e.Network = "two"
		return api.ContainerSpec{Endpoints: []api.Endpoint{{Network: "one"}, e}}
	}
	mount := func(m api.Mount) api.ContainerSpec { return api.ContainerSpec{Mounts: []api.Mount{m}} }
	tests := []struct {
		attribute, below, from string
		spec                   api.ContainerSpec
	}{
		{"annotations", "1.42", "1.43", api.ContainerSpec{Annotations: map[string]string{"a": "b"}}},
		{"start_interval", "1.43", "1.44", api.ContainerSpec{Healthcheck: &api.Healthcheck{Test: []string{"CMD", "x"}, StartInterval: time.Second}}},
		{"mac_address", "1.43", "1.44", second(api.Endpoint{MacAddress: "02:00:00:00:00:01"})},
		{"gw_priority", "1.47", "1.48", second(api.Endpoint{GwPriority: 1})},
		{"interface_name", "1.48", "1.49", second(api.Endpoint{InterfaceName: "eth7"})},
		{"subpath", "1.44", "1.45", mount(api.Mount{Type: api.MountVolume, Source: "v", Target: "/x", Subpath: "y"})},
		{"type: image", "1.47", "1.48", mount(api.Mount{Type: api.MountImage, Source: "i", Target: "/x"})},
		{"bind.recursive", "1.43", "1.44", mount(api.Mount{Type: api.MountBind, Source: "/v", Target: "/x", Recursive: "readonly"})},
	}
	for _, tc := range tests {
		t.Run(tc.attribute, func(t *testing.T) {
			tc.spec.Image = "i"
			s := &script{answers: map[string]func(http.ResponseWriter){"POST /containers/create": say(created), "POST /networks/two/connect": say("")}}
			_, err := fakeEngine(t, tc.below, s.serve).Create(t.Context(), engine.CreateRequest{Name: "c", Spec: tc.spec})
			failure, ok := errors.AsType[*engine.Error](err)
			if !ok || !errors.Is(err, engine.ErrInvalid) || failure.Reason != api.ReasonUnsupported || failure.Class != api.Terminal ||
				!strings.Contains(err.Error(), tc.attribute) || !strings.Contains(err.Error(), tc.from) {
				t.Errorf("API %s: %v", tc.below, err)
			}
			if len(s.asked) > 0 {
				t.Errorf("API %s: asked %v", tc.below, s.asked)
			}
			if _, err := fakeEngine(t, tc.from, s.serve).Create(t.Context(), engine.CreateRequest{Name: "c", Spec: tc.spec}); err != nil {
				t.Errorf("API %s: %v", tc.from, err)
			}
		})
	}
}

func TestCreateRefusesWhatIsNotFinal(t *testing.T) {
	for name, spec := range map[string]api.ContainerSpec{
		"reference":       {Env: []string{"A=" + api.Placeholder("op://a/b/c")}},
		"repository file": {Mounts: []api.Mount{{Type: api.MountBind, Target: "/x", Repo: &api.RepoSource{Path: "x"}}}},
		"address":         {Endpoints: []api.Endpoint{{Network: "n", IPv4Address: "1.2.3"}}},
		"dns":             {DNS: []string{"resolver"}},
		"mac":             {Endpoints: []api.Endpoint{{Network: "n", MacAddress: "zz"}}},
		"expose":          {Expose: []string{"http"}},
		"host address":    {Ports: []api.Port{{Target: 1, HostIP: "localhost"}}},
		"platform":        {Platform: "a/b/c/d"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{}
			_, err := fakeEngine(t, "1.41", s.serve).Create(t.Context(), engine.CreateRequest{Name: "c", Spec: spec})
			failure, ok := errors.AsType[*engine.Error](err)
			if !ok || !errors.Is(err, engine.ErrInvalid) || failure.Class != api.Terminal || len(s.asked) > 0 {
				t.Errorf("%v, asked %v", err, s.asked)
			}
		})
	}
	ref := api.Placeholder("op://a/b/c")
	for name, spec := range map[string]api.ContainerSpec{
		"label": {Labels: map[string]string{"a": ref}}, "command": {Command: []string{ref}}, "mount": {Mounts: []api.Mount{{Type: api.MountBind, Source: "/" + ref}}},
	} {
		s := &script{}
		_, err := fakeEngine(t, "1.41", s.serve).Create(t.Context(), engine.CreateRequest{Name: "c", Spec: spec, References: true})
		if !errors.Is(err, engine.ErrInvalid) || len(s.asked) > 0 {
			t.Errorf("reference in a %s, which ktrdr-exec does not fill in: %v, asked %v", name, err, s.asked)
		}
	}
	filled := engine.CreateRequest{Name: "c", References: true, Spec: api.ContainerSpec{
		Env: []string{"A=" + ref}, Healthcheck: &api.Healthcheck{Test: []string{"CMD", ref}},
	}}
	asked := &script{}
	c := fakeEngine(t, "1.41", asked.serve)
	if _, err := c.Create(t.Context(), filled); errors.Is(err, engine.ErrInvalid) || len(asked.asked) == 0 {
		t.Errorf("references that ktrdr-exec fills in: %v, asked %v", err, asked.asked)
	}
	if err := c.CopyFiles(t.Context(), fakeID, []api.File{{Target: "/x", Content: api.Placeholder("op://a/b/c")}}); !errors.Is(err, engine.ErrInvalid) {
		t.Errorf("CopyFiles: %v", err)
	}
}

func TestCreateFailures(t *testing.T) {
	const secret = "hunter2-hunter2"
	holder := `{"Id":"holder","Config":{},"HostConfig":{},"State":{}}`
	tests := []struct {
		name     string
		answers  map[string]func(http.ResponseWriter)
		sentinel error
		reason   api.Reason
		text     string
	}{
		{
			"no image",
			map[string]func(http.ResponseWriter){"POST /containers/create": no(404, "No such image: i:latest")},
			engine.ErrNotFound, api.ReasonImageMissing, "image i is not local",
		},
		{"name in use", map[string]func(http.ResponseWriter){
			"POST /containers/create": no(409, `Conflict. The container name "/c" is already in use by container "holder".`), "GET /containers/c/json": say(holder),
		}, engine.ErrConflict, api.ReasonNameConflict, "holder"},
		{
			"quotes the request",
			map[string]func(http.ResponseWriter){"POST /containers/create": no(400, "invalid environment variable: A="+secret)},
			engine.ErrInvalid, api.ReasonEngineFailed, "A=***",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := fakeEngine(t, "1.41", (&script{answers: tc.answers}).serve)
			_, err := c.Create(t.Context(), engine.CreateRequest{Name: "c", Spec: api.ContainerSpec{Image: "i", Env: []string{"A=" + secret}}})
			failure, ok := errors.AsType[*engine.Error](err)
			if !ok || !errors.Is(err, tc.sentinel) || failure.Reason != tc.reason || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v: %+v", err, failure)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("secret in %q", err)
			}
		})
	}
}

func TestAnonymousVolumesAreTakenOver(t *testing.T) {
	s := &script{answers: map[string]func(http.ResponseWriter){"POST /containers/create": say(created)}}
	_, err := fakeEngine(t, "1.41", s.serve).Create(t.Context(), engine.CreateRequest{
		Name: "c", InheritVolumes: map[string]string{"/image": "v1", "/declared": "v2", "/named": "v3", "/tmpfs": "v4"},
		Spec: api.ContainerSpec{Image: "i", Tmpfs: map[string]string{"/tmpfs": ""}, Mounts: []api.Mount{
			{Type: api.MountVolume, Target: "/declared"}, {Type: api.MountVolume, Source: "mine", Target: "/named"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	host := s.bodies["POST /containers/create"]["HostConfig"].(map[string]any)
	var mounts []string
	for _, item := range host["Mounts"].([]any) {
		m := item.(map[string]any)
		mounts = append(mounts, fmt.Sprint(m["Source"], " ", m["Target"]))
	}
	slices.Sort(mounts)
	if diff := cmp.Diff([]string{"v1 /image", "v2 /declared"}, mounts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]any{"mine:/named:rw"}, host["Binds"]); diff != "" {
		t.Error(diff)
	}
}

func TestNetworkNamesAreNotUsedTwice(t *testing.T) {
	networks := func(labels string) string {
		return `[{"Name":"net","Id":"n1","Labels":` + labels + `},{"Name":"net-other","Id":"n2"}]`
	}
	ours := map[string]string{api.LabelStack: "s", api.LabelNetwork: "k"}
	tests := []struct {
		name, labels, id string
		sentinel         error
	}{
		{"net", `{"io.ktrdr.stack":"s","com.docker.compose.network":"k"}`, "n1", nil},
		{"net", `{}`, "", engine.ErrConflict},
		{"net", `{"io.ktrdr.stack":"another","com.docker.compose.network":"k"}`, "", engine.ErrConflict},
		{"ne", `{}`, "made", nil},
	}
	for _, tc := range tests {
		s := &script{answers: map[string]func(http.ResponseWriter){
			"GET /networks": say(networks(tc.labels)), "POST /networks/create": say(`{"Id":"made"}`),
		}}
		id, err := fakeEngine(t, "1.41", s.serve).CreateNetwork(t.Context(), api.NetworkSpec{Name: tc.name}, ours)
		if id != tc.id || !errors.Is(err, tc.sentinel) {
			t.Errorf("%s %s: %q, %v", tc.name, tc.labels, id, err)
		}
	}
}

func TestListOutlivesSingleContainers(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	defer close(hang) // before the server waits for its handlers
	whole := `{"Id":"whole","Name":"/whole","Config":{},"HostConfig":{},"State":{"Status":"running"},"NetworkSettings":{"Networks":{"net":{}}}}`
	s := &script{answers: map[string]func(http.ResponseWriter){
		"GET /containers/json":       say(`[{"Id":"whole","Names":["/whole"]},{"Id":"gone"},{"Id":"hung","Names":["/a/link","/hung"],"State":"running","Labels":{"l":"v"}}]`),
		"GET /containers/whole/json": say(whole), "GET /containers/hung/json": func(http.ResponseWriter) { <-hang },
		"GET /networks": say(`[{"Name":"net","Id":"n1"}]`), "GET /volumes": say(`{"Volumes":[{"Name":"v","Driver":"local"}]}`),
	}}
	_, server := fakeEngineAt(t, "1.41", s.serve)
	// Short for the one that hangs, and time enough for the others.
	list, err := fakeClient(t, "tcp://"+server.Listener.Addr().String(), 5*time.Second).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Containers) != 2 || len(list.Networks) != 1 || len(list.Volumes) != 1 {
		t.Fatalf("list: %+v", list)
	}
	first, second := list.Containers[0], list.Containers[1]
	if first.ID != "whole" || first.Attached["n1"].Name != "net" {
		t.Errorf("first: %+v", first)
	}
	if second.ID != "hung" || second.Name != "hung" || !second.Facts.Unresponsive || second.Labels["l"] != "v" || second.State != api.StateRunning {
		t.Errorf("second: %+v", second)
	}
	s.answer("GET /networks", no(500, "broken"))
	if _, err := fakeEngine(t, "1.41", s.serve).List(t.Context()); err == nil {
		t.Error("half a list is taken for whole")
	}
}
