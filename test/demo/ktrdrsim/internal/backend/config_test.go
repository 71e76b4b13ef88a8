package backend_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/backend"
)

func TestFromEnv(t *testing.T) {
	secret := strings.Repeat("ä", 32)
	for name, test := range map[string]struct {
		env     map[string]string
		want    backend.Config
		problem []string
	}{
		"new names": {
			env:  map[string]string{"KTRDR_DB_HOST": "db", "KTRDR_AUTH_JWT_SECRET": secret, "KTRDR_API_PORT": "9000"},
			want: backend.Config{Port: "9000", DatabaseAddr: "db:5432", HealthInterval: 10 * time.Second, Version: "dev"},
		},
		"old names": {
			env:  map[string]string{"DB_HOST": "db", "DB_PORT": "6000", "JWT_SECRET": secret, "KTRDRSIM_HEALTH_INTERVAL": "1s"},
			want: backend.Config{Port: "8000", DatabaseAddr: "db:6000", HealthInterval: time.Second, Version: "dev"},
		},
		"all missing": {problem: []string{"DB_HOST", "JWT_SECRET"}},
		"31 characters are too few, whatever their bytes": {
			env:     map[string]string{"DB_HOST": "db", "JWT_SECRET": strings.Repeat("ä", 31)},
			problem: []string{"JWT_SECRET) has 31 characters"},
		},
		"bad port and interval": {
			env: map[string]string{
				"DB_HOST": "db", "JWT_SECRET": secret, "KTRDR_API_PORT": "70000", "KTRDRSIM_HEALTH_INTERVAL": "-1s",
			},
			problem: []string{"KTRDR_API_PORT", "KTRDRSIM_HEALTH_INTERVAL"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := backend.FromEnv(func(key string) string { return test.env[key] })
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
					t.Errorf("error %q does not name %s", err, word)
				}
			}
			if strings.Contains(err.Error(), "ä") {
				t.Errorf("error %q shows the secret", err)
			}
		})
	}
}
