package worker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/worker"
)

func TestFromEnv(t *testing.T) {
	for name, test := range map[string]struct {
		flags   worker.Flags
		env     map[string]string
		want    worker.Config
		problem []string
	}{
		"new names, backend with path": {
			env: map[string]string{
				"KTRDR_WORKER_ID": "b1", "KTRDR_WORKER_TYPE": "backtesting", "KTRDR_WORKER_PORT": "5003",
				"KTRDR_WORKER_PUBLIC_BASE_URL": "http://workers-b:5003/", "KTRDR_API_CLIENT_BASE_URL": "http://backend:8000/api/v1",
				"KTRDR_DATA_SHARED_MOUNT_PATH": "/mnt/ktrdr_data",
			},
			want: worker.Config{
				ID: "b1", Type: contract.Backtesting, Port: "5003", PublicURL: "http://workers-b:5003",
				BackendURL: "http://backend:8000", CheckpointDir: "/mnt/ktrdr_data/checkpoints", ReregisterAfter: 30 * time.Second,
			},
		},
		"old names, flags win": {
			flags: worker.Flags{Type: "training", Host: "0.0.0.0", Port: "5005"},
			env: map[string]string{
				"KTRDR_WORKER_ID": "t1", "WORKER_TYPE": "backtest", "WORKER_PORT": "1", "KTRDRSIM_IGNORE_SIGTERM": "1",
				"WORKER_PUBLIC_BASE_URL": "http://w:5005", "KTRDR_API_URL": "http://backend:8000", "KTRDR_CHECKPOINT_DIR": "/c",
			},
			want: worker.Config{
				ID: "t1", Type: contract.Training, Host: "0.0.0.0", Port: "5005", PublicURL: "http://w:5005", IgnoreTerm: true,
				BackendURL: "http://backend:8000", CheckpointDir: "/c", ReregisterAfter: 30 * time.Second,
			},
		},
		"nothing": {
			problem: []string{"worker type", "WORKER_PORT", "WORKER_PUBLIC_BASE_URL) is not set", "KTRDR_API_URL) is not set"},
		},
		"no URLs": {
			flags:   worker.Flags{Type: "training", Port: "1"},
			env:     map[string]string{"WORKER_PUBLIC_BASE_URL": "w:5005", "KTRDR_API_URL": "backend"},
			problem: []string{"WORKER_PUBLIC_BASE_URL): want an absolute", "KTRDR_API_URL): want an absolute"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := worker.FromEnv(test.flags, func(key string) string { return test.env[key] })
			if len(test.problem) == 0 {
				if err != nil {
					t.Fatalf("FromEnv: %v", err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("configuration differs (-want +got):\n%s", diff)
				}
				return
			}
			if err == nil {
				t.Fatal("FromEnv accepted the environment")
			}
			for _, word := range test.problem {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error %q lacks %q", err, word)
				}
			}
		})
	}
}

func TestIDWithoutKTRDRWorkerIDIsNewEachTime(t *testing.T) {
	env := map[string]string{"WORKER_PUBLIC_BASE_URL": "http://w:5005", "KTRDR_API_URL": "http://backend:8000"}
	ids := map[string]bool{}
	for range 3 {
		cfg, err := worker.FromEnv(worker.Flags{Type: "training", Port: "1"}, func(key string) string { return env[key] })
		if err != nil {
			t.Fatal(err)
		}
		ids[cfg.ID] = strings.HasPrefix(cfg.ID, "training-worker-")
	}
	if len(ids) != 3 {
		t.Errorf("three starts have the ids %v", ids)
	}
	for id, prefixed := range ids {
		if !prefixed {
			t.Errorf("id %s does not start with the type", id)
		}
	}
}
