package applet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/database"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/serve"
)

// maxPassword bounds what is read of a new password, in bytes.
const maxPassword = 1 << 10

// grafana serves, or gives the administrator another password: `grafana cli … admin reset-admin-password --password-from-stdin`.
// As the real one does, it reads GF_SECURITY_ADMIN_PASSWORD when it makes its data, and never again.
func grafana(ctx context.Context, p Process, args []string) int {
	account := filepath.Join(cmp.Or(p.lookup()("GF_PATHS_DATA"), "/var/lib/grafana"), "ktrdrsim-admin")
	if len(args) > 0 && args[0] == "cli" {
		return p.resetAdmin(account, args[1:])
	}
	if _, err := os.Stat(account); errors.Is(err, fs.ErrNotExist) {
		if err := keepAdmin(account, cmp.Or(p.lookup()("GF_SECURITY_ADMIN_PASSWORD"), "admin")); err != nil {
			return p.fail(exitFailure, err)
		}
	}
	handler := http.NewServeMux()
	handler.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		contract.WriteJSON(w, http.StatusOK, map[string]string{"name": "grafana", "status": "ok"})
	})
	handler.HandleFunc("GET /api/org", func(w http.ResponseWriter, r *http.Request) {
		verifier, err := os.ReadFile(account)
		user, password, _ := r.BasicAuth()
		if err != nil || user != "admin" || !database.Matches(string(verifier), password) {
			contract.WriteJSON(w, http.StatusUnauthorized, map[string]string{"message": "Invalid username or password"})
			return
		}
		contract.WriteJSON(w, http.StatusOK, map[string]string{"name": "Main Org."})
	})
	return p.done(serve.Until(ctx, handler, ":"+cmp.Or(p.lookup()("GF_SERVER_HTTP_PORT"), "3000")))
}

func (p Process) resetAdmin(account string, args []string) int {
	if i := slices.Index(args, "--homepath"); i >= 0 && i+1 < len(args) {
		args = slices.Delete(slices.Clone(args), i, i+2)
	}
	if !slices.Equal(args, []string{"admin", "reset-admin-password", "--password-from-stdin"}) {
		return p.fail(exitUsage, errors.New("grafana cli: only `admin reset-admin-password --password-from-stdin` is known"))
	}
	password, err := io.ReadAll(io.LimitReader(p.Stdin, maxPassword))
	if err == nil && len(password) == 0 {
		err = errors.New("the password is empty")
	}
	if err == nil {
		err = keepAdmin(account, strings.TrimSuffix(string(password), "\n"))
	}
	if err != nil {
		return p.fail(exitFailure, fmt.Errorf("grafana cli: %w", err))
	}
	fmt.Fprintln(p.Stdout, "Admin password changed successfully")
	return 0
}

// keepAdmin writes what is kept of the administrator's password.
func keepAdmin(account, password string) error {
	verifier, err := database.Verifier(password)
	if err != nil {
		return err
	}
	if err := os.WriteFile(account+".new", []byte(verifier), 0o600); err != nil {
		return fmt.Errorf("keep the administrator's password: %w", err)
	}
	if err := os.Rename(account+".new", account); err != nil {
		return fmt.Errorf("keep the administrator's password: %w", err)
	}
	return nil
}
