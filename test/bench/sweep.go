package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/test/demo/image"
)

// What marks everything that this program makes, or lets others make.
const (
	benchLabel = "io.ktrdr.bench"
	nodeName   = "bench"
	prefix     = "ktrdr-bench-"
)

// project names a project of this run alone: engines now and then keep the endpoint of a
// container that was removed by force, and with it a network that no later run can remove.
func project(measure string) string { return prefix + measure + "-" + strconv.Itoa(os.Getpid()) }

// isOurs recognises objects of this run and of an aborted one.
func isOurs(name string, labels map[string]string) bool {
	return labels[benchLabel] != "" || labels["io.ktrdr.node"] == nodeName ||
		strings.HasPrefix(labels["com.docker.compose.project"], prefix) || strings.HasPrefix(strings.TrimPrefix(name, "/"), prefix)
}

// listed is what all lists of the engine have.
type listed struct {
	ID     string `json:"Id"`
	Names  []string
	Name   string
	Labels map[string]string
}

// sweep removes all that is ours, and returns how many networks of this run it found: the engine
// refuses to remove one while it is busy with the end of a container. Errors are left to the next
// sweep.
func (e *engine) sweep(ctx context.Context) (found int) {
	e.sweepContainers(ctx)
	var networks []listed
	_ = e.call(ctx, http.MethodGet, "/networks", nil, &networks)
	for _, n := range networks {
		if isOurs(n.Name, n.Labels) {
			if strings.HasSuffix(n.Name, "-"+strconv.Itoa(os.Getpid())+"_default") {
				found++
			}
			e.sweepNetwork(ctx, n.ID)
		}
	}
	var volumes struct{ Volumes []listed }
	_ = e.call(ctx, http.MethodGet, "/volumes", nil, &volumes)
	for _, v := range volumes.Volumes {
		if isOurs(v.Name, v.Labels) {
			_ = e.call(ctx, http.MethodDelete, "/volumes/"+v.Name+"?force=1", nil, nil)
		}
	}
	return found
}

// sweepNetwork removes a network, and before that, where it has to, the endpoints that the
// engine has kept of containers that are gone.
func (e *engine) sweepNetwork(ctx context.Context, id string) {
	if e.call(ctx, http.MethodDelete, "/networks/"+id, nil, nil) == nil {
		return
	}
	var network struct {
		Containers map[string]struct{ Name string }
	}
	_ = e.call(ctx, http.MethodGet, "/networks/"+id, nil, &network)
	for key, kept := range network.Containers {
		for _, name := range []string{key, kept.Name} {
			_ = e.post(ctx, "/networks/"+id+"/disconnect", map[string]any{"Container": name, "Force": true})
		}
	}
	_ = e.call(ctx, http.MethodDelete, "/networks/"+id, nil, nil)
}

func (e *engine) sweepContainers(ctx context.Context) {
	var containers []listed
	_ = e.call(ctx, http.MethodGet, "/containers/json?all=1", nil, &containers)
	var g errgroup.Group
	g.SetLimit(8)
	for _, c := range containers {
		if isOurs(strings.Join(c.Names, " "), c.Labels) {
			g.Go(func() error { return e.remove(ctx, c.ID) })
		}
	}
	_ = g.Wait()
}

// sweepFolders removes the folders of this run and of aborted ones; lock keeps others away.
func sweepFolders() {
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, folder := range folders {
		_ = os.RemoveAll(folder)
	}
}

// leave removes all that was made, the image included.
func (b *bench) leave(ctx context.Context) {
	b.engine.sweepAll(ctx)
	sweepFolders()
	if _, err := image.Remove(context.WithoutCancel(ctx), image.Options{Host: "unix://" + b.socket, Specs: images()}); err != nil {
		b.say("bench: %v", err)
	}
}

// clearing is how long an engine may keep a network whose containers are gone. Docker 20.10 may
// keep it until its restart.
const clearing = 5 * time.Second

// sweepAll sweeps until nothing is left that the next round would meet, with time limits of its
// own, so that it works after an interrupt.
func (e *engine) sweepAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	for end := time.Now().Add(clearing); e.sweep(ctx) > 0 && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}
