package web

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"unique"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/desired"
)

// Targets lists for Prometheus the replicas that run (http_sd). A replica runs when its node's
// agent said so last; where it is comes from the revision that the node has accepted.
type Targets struct {
	// Nodes returns all nodes.
	Nodes func() []hub.Node
	Shelf *slicing.Shelf
	// Load reads a node's desired state. Default desired.Load.
	Load func(context.Context, desired.Request) (*api.Desired, []desired.Problem, error)
	Log  *slog.Logger

	mu    sync.Mutex
	wants map[string]*wanting // by node, of the nodes that there are
}

// wanted is what a node's accepted slice says of replicas with ports, by container.
type wanted struct {
	replicas map[string]*replica

	// running are those that ran by the status that was read last.
	mu      sync.Mutex
	status  *hub.Status
	running []running
}

type running struct {
	*replica
	health string
}

type replica struct {
	hostname, stack, project, service, pool, container string
	slot                                               int
	ports                                              []api.Port
}

// group is one entry of http_sd. Source: Prometheus "HTTP SD", which wants labels to be
// strings.
type group struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// ServeHTTP answers with all targets; when they can't be told, with an error, so that
// Prometheus keeps what it has.
func (t *Targets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	groups, err := t.list(r.Context())
	if err != nil {
		t.Log.WarnContext(r.Context(), "targets can't be listed", "err", err)
		http.Error(w, "targets can't be listed; the controller's log says why", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(groups); err != nil {
		t.Log.DebugContext(r.Context(), "targets are not sent", "err", err)
	}
}

func (t *Targets) list(ctx context.Context) ([]group, error) {
	groups, nodes := []group{}, t.Nodes()
	t.forget(nodes)
	for _, n := range nodes {
		if n.Status == nil || n.Digest == "" || n.Digest != n.StatusDigest {
			continue
		}
		w, err := t.want(ctx, n)
		if err != nil {
			return nil, err
		}
		for _, r := range w.read(n.Status) {
			groups = append(groups, r.groups(n.Name, r.health)...)
		}
	}
	return groups, nil
}

// read returns which replicas run; a status that is known already is not unpacked again.
func (w *wanted) read(status *hub.Status) []running {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status == status {
		return w.running
	}
	var out []running
	for _, stack := range status.Message().GetStacks() {
		for _, service := range stack.GetServices() {
			if r := w.replicas[service.GetContainer()]; r != nil && service.GetState() == "running" {
				out = append(out, running{r, unique.Make(service.GetHealth()).Value()})
			}
		}
	}
	w.status, w.running = status, out
	return out
}

// groups has one entry for each port that is published by TCP.
func (r *replica) groups(node, health string) []group {
	var out []group
	for _, port := range r.ports {
		number, err := strconv.ParseUint(port.Published, 10, 16)
		if err != nil || number == 0 || cmp.Or(port.Protocol, "tcp") != "tcp" {
			continue
		}
		labels := map[string]string{
			"node": node, "hostname": r.hostname, "stack": r.stack, "project": r.project, "service": r.service,
			"container": r.container, "container_port": strconv.Itoa(int(port.Target)), "health": health,
		}
		if r.pool != "" {
			labels["pool"], labels["slot"] = r.pool, strconv.Itoa(r.slot)
		}
		out = append(out, group{Targets: []string{net.JoinHostPort(r.hostname, port.Published)}, Labels: labels})
	}
	return out
}
