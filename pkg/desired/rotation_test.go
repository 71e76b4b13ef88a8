package desired_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/api"
)

// TestKept: stack.yaml's word counts before that of well-known variables, which count only
// where the service has somewhere to keep what it made.
func TestKept(t *testing.T) {
	const password, user, key = "op://v/i/password", "op://v/i/user", "op://v/i/key"
	alter := []string{"alter"}
	cases := map[string]struct {
		rotation, service string
		want              []api.KeptSecret
	}{
		"a command": {
			"{secret: PW, exec: [alter], user: postgres, timeout: 5s}", `volumes: ["data:/data"], environment: {POSTGRES_PASSWORD: "${PW}"}`,
			[]api.KeptSecret{{Ref: password, Variable: "PW", Exec: alter, User: "postgres", Timeout: 5 * time.Second}},
		},
		"the key of the environment and the default time": {
			"{secret: POSTGRES_PASSWORD, exec: [alter]}", `volumes: ["data:/data"], environment: {POSTGRES_PASSWORD: "${PW}"}`,
			[]api.KeptSecret{{Ref: password, Variable: "POSTGRES_PASSWORD", Exec: alter, Timeout: 30 * time.Second}},
		},
		"kept by declaration": {
			"{secret: op://v/i/key, keep: true}", `environment: {KEY: "x ${KEY}"}`,
			[]api.KeptSecret{{Ref: key, Variable: "op://v/i/key"}},
		},
		"well-known, with a volume": {
			"", `volumes: ["data:/data"], environment: {POSTGRES_PASSWORD: "${PW}", POSTGRES_USER: "${DBUSER}", KEY: "${KEY}"}`,
			[]api.KeptSecret{{Ref: password, Variable: "POSTGRES_PASSWORD"}, {Ref: user, Variable: "POSTGRES_USER"}},
		},
		"well-known, in a file": {
			"", `volumes: ["/srv:/data"], secrets: [pw], environment: {GF_SECURITY_ADMIN_PASSWORD__FILE: /run/secrets/pw}`,
			[]api.KeptSecret{{Ref: password, Variable: "GF_SECURITY_ADMIN_PASSWORD__FILE"}},
		},
		"well-known, with nothing to keep it in": {
			"", `volumes: ["data:/data:ro"], tmpfs: [/data2], environment: {POSTGRES_PASSWORD: "${PW}"}`, nil,
		},
		"well-known, and not so": {
			"{secret: PW, keep: false}", `volumes: ["data:/data"], environment: {POSTGRES_PASSWORD: "${PW}"}`, nil,
		},
		"none": {"", `volumes: ["data:/data"], environment: {KEY: "${KEY}"}`, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			stack := "variables: {PW: " + password + ", DBUSER: " + user + ", KEY: " + key + "}"
			if c.rotation != "" {
				stack += "\nservices: {db: {rotation: [" + c.rotation + "]}}"
			}
			compose := "services:\n  db: {image: db, " + c.service + "}\nvolumes: {data: {}}\n" +
				"secrets: {pw: {external: true, name: \"" + password + "\"}}\n"
			d := mustLoad(t, repo(t, "stacks: [{name: s}]", stack, compose), "n")
			if diff := cmp.Diff(c.want, d.Stacks[0].Services[0].Keeps); diff != "" {
				t.Error(diff)
			}
		})
	}
}
