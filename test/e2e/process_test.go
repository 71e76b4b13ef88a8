package e2e_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// environ reads the environment of a container's program off its process.
func (d docker) environ(t testing.TB, name string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", d.program(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for kv := range strings.SplitSeq(string(data), "\x00") {
		if key, value, ok := strings.Cut(kv, "="); ok {
			env[key] = value
		}
	}
	return env
}

// argv reads the arguments of a container's program, each ended by a zero byte.
func (d docker) argv(t testing.TB, name string) string {
	t.Helper()
	return readFile(t, fmt.Sprintf("/proc/%d/cmdline", d.program(t, name)))
}

// program is the process of a container's program: behind the engine's init, where that
// is PID 1. It waits until ktrdr-exec has become the program.
func (d docker) program(t testing.TB, name string) int {
	t.Helper()
	pid := 0
	eventually(t, "program of "+name, time.Minute, func() bool {
		pid = d.must(t, name).State.Pid
		if children := strings.Fields(tryRead(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))); len(children) > 0 &&
			strings.Contains(tryRead(fmt.Sprintf("/proc/%d/cmdline", pid)), "init") {
			_, _ = fmt.Sscan(children[0], &pid)
		}
		line := tryRead(fmt.Sprintf("/proc/%d/cmdline", pid))
		return line != "" && !beforeProgram(line)
	})
	return pid
}

// beforeProgram tells whether a command line is still that of what comes before the
// program: the runtime's init, which an engine calls running a moment before it has
// executed anything (runc start ends when its FIFO is open), or ktrdr-exec.
func beforeProgram(line string) bool {
	argv := strings.Split(line, "\x00")
	return strings.Contains(line, api.ExecTarget) || len(argv) > 1 && filepath.Base(argv[0]) == "runc" && argv[1] == "init"
}

func tryRead(path string) string {
	data, err := os.ReadFile(path) //nolint:gosec // below /proc
	if err != nil {
		return ""
	}
	return string(data)
}

// top lists the arguments of all processes of a container.
func (d docker) top(t testing.TB, name string) string {
	t.Helper()
	var list struct{ Processes [][]string }
	d.do(t, http.MethodGet, "/containers/"+name+"/top?ps_args="+url.QueryEscape("-eo pid,args"), nil, &list)
	var out []string
	for _, p := range list.Processes {
		out = append(out, strings.Join(p, " "))
	}
	return strings.Join(out, "\n")
}

// stat tells owner and mode of a file as a program in the container sees it.
func (d docker) stat(t testing.TB, name, path string) string {
	t.Helper()
	info, err := os.Stat(fmt.Sprintf("/proc/%d/root%s", d.program(t, name), path))
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no owner")
	}
	return fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, info.Mode().Perm())
}

// dataRoot is where the engine keeps its data.
func (d docker) dataRoot(t testing.TB) string {
	t.Helper()
	var info struct{ DockerRootDir string }
	d.do(t, http.MethodGet, "/info", nil, &info)
	return info.DockerRootDir
}

// importImage makes an image of the demonstration program and of programs of this machine
// with their libraries.
func (d docker) importImage(t testing.TB, tag string, programs []string, changes ...string) {
	t.Helper()
	var archive bytes.Buffer
	out := tar.NewWriter(&archive)
	add := func(path, from string) {
		body := readFile(t, from)
		header := &tar.Header{Name: strings.TrimPrefix(path, "/"), Mode: 0o755, Size: int64(len(body)), Typeflag: tar.TypeReg}
		if err := out.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, body); err != nil {
			t.Fatal(err)
		}
	}
	add("/ktrdrsim", binaries.program)
	seen := map[string]bool{}
	for _, program := range programs {
		listed, err := exec.CommandContext(t.Context(), "ldd", program).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range append(regexp.MustCompile(`/lib[^ ]+`).FindAllString(string(listed), -1), program) {
			if !seen[path] {
				seen[path] = true
				add(path, path)
			}
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	name, version, _ := strings.Cut(tag, ":")
	query := url.Values{"fromSrc": {"-"}, "repo": {name}, "tag": {version}, "changes": changes}
	d.do(t, http.MethodPost, "/images/create?"+query.Encode(), archive.Bytes(), new([]byte))
	t.Cleanup(func() { d.quietly(http.MethodDelete, "/images/"+tag+"?force=1") })
}
