package image_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"ktrdr.io/fleet/test/demo/image"
)

const jwtSecret = "0123456789abcdef0123456789abcdef"

// The user's own command lines run in the images: database, backend, workers and mcp, and a worker registers.
func TestFleetRunsOnARealEngine(t *testing.T) {
	l := newLab(t)
	built, err := image.Build(t.Context(), image.Options{Specs: l.specs()})
	if err != nil {
		t.Fatal(err)
	}
	again, err := image.Build(t.Context(), image.Options{Specs: l.specs()})
	if err != nil || again[0].ID != built[0].ID {
		t.Fatalf("a second build is %v (%v), the first %v", again, err, built)
	}
	l.do(t.Context(), http.MethodPost, "/images/"+prefix+":backend/tag?repo="+prefix+"&tag=later", nil, nil)
	l.do(t.Context(), http.MethodPost, "/networks/create", map[string]any{
		"Name": prefix, "Driver": "bridge", "Labels": map[string]string{"io.ktrdr.test": prefix},
	}, nil)
	l.run(container{name: "db", tag: "db", env: []string{"POSTGRES_USER=u", "POSTGRES_PASSWORD=p"}})
	l.eventually("pg_isready", func() bool { return l.exec("db", "/bin/sh", "-c", "pg_isready -U u") == 0 })
	altered := l.exec("db", "/bin/sh", "-c", `new=$(echo p2) && printf '%s\n%s\n' "$new" "$new" | psql -X -U "$POSTGRES_USER" -d postgres -c '\password'`)
	if old := l.exec("db", "psql", "-h", "127.0.0.1", "-U", "u", "-c", "select 1"); altered != 0 || old == 0 {
		t.Errorf("the password was altered with code %d, no password is accepted with %d", altered, old)
	}
	l.run(container{
		name: "backend", tag: "backend", port: "8000",
		env: []string{"KTRDR_DB_HOST=db", "KTRDR_DB_USER=u", "KTRDR_DB_PASSWORD=p2", "KTRDR_AUTH_JWT_SECRET=" + jwtSecret, "KTRDRSIM_DB_DIAL=1", "KTRDRSIM_HEALTH_INTERVAL=200ms"},
		cmd: []string{"python", "-m", "uvicorn", "ktrdr.api.main:app", "--host", "0.0.0.0", "--port", "8000"},
	})
	l.run(workerContainer("training", "ktrdr.training.training_worker:app"))
	l.run(workerContainer("stubborn", "ktrdr.backtesting.backtest_worker:app", "KTRDRSIM_IGNORE_SIGTERM=1"))
	l.run(container{name: "mcp", tag: "backend", cmd: []string{"sleep", "infinity"}})

	base := "http://127.0.0.1:" + l.inspect("backend").NetworkSettings.Ports["8000/tcp"][0].HostPort
	l.eventually("both workers registered as available", func() bool {
		return slices.Equal(available(base), []string{"stubborn", "training"})
	})
	l.eventually("backend healthy, mcp and worker unhealthy by the inherited healthcheck", func() bool {
		return l.inspect("backend").State.Health.Status == "healthy" &&
			l.inspect("mcp").State.Health.Status == "unhealthy" && l.inspect("training").State.Health.Status == "unhealthy"
	})
	stopIsAsTheUserKnowsIt(l, base)
}

func workerContainer(id, app string, env ...string) container {
	return container{
		name: id, tag: "backend",
		env: append(env, "KTRDR_WORKER_ID="+id, "KTRDR_API_CLIENT_BASE_URL=http://backend:8000/api/v1",
			"KTRDR_WORKER_PUBLIC_BASE_URL=http://"+id+":5003", "KTRDR_DATA_SHARED_MOUNT_PATH=/tmp"),
		cmd: []string{"python", "-m", "uvicorn", app, "--host", "0.0.0.0", "--port", "5003"},
	}
}

// available returns the ids of the backend's available workers, none while it does not answer.
func available(base string) []string {
	resp, err := http.Get(base + "/api/v1/workers?status=available")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var workers []struct {
		WorkerID string `json:"worker_id"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&workers) != nil {
		return nil
	}
	var ids []string
	for _, w := range workers {
		ids = append(ids, w.WorkerID)
	}
	return ids
}

// stopIsAsTheUserKnowsIt stops busy training (checkpoint, 0), a worker that ignores SIGTERM (137) and mcp (143).
func stopIsAsTheUserKnowsIt(l *lab, base string) {
	l.t.Helper()
	resp, err := http.Post(base+"/api/v1/trainings/start", "application/json", bytes.NewReader([]byte(`{"duration_seconds":600}`)))
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var reply struct {
		Data struct {
			OperationID string `json:"operation_id"`
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil || resp.StatusCode != http.StatusOK {
		l.t.Fatalf("start training: %s, %v", resp.Status, err)
	}
	for _, stop := range []struct {
		name        string
		grace, want int // seconds, exit code
	}{
		{"training", 30, 0}, // ends by itself
		{"stubborn", 2, 137},
		{"mcp", 30, 143},
	} {
		l.do(l.t.Context(), http.MethodPost, fmt.Sprintf("/containers/%s-%s/stop?t=%d", prefix, stop.name, stop.grace), nil, nil)
		if got := l.inspect(stop.name).State; got.Running || got.ExitCode != stop.want {
			l.t.Errorf("%s after its stop is %+v, want exit code %d", stop.name, got, stop.want)
		}
	}
	file := "/tmp/checkpoints/" + reply.Data.OperationID + ".checkpoint.json"
	if code := l.do(l.t.Context(), http.MethodHead, "/containers/"+prefix+"-training/archive?path="+file, nil, nil); code != http.StatusOK {
		l.t.Errorf("no checkpoint at %s: status %d", file, code)
	}
}
