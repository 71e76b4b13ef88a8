package secrets_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/agent/internal/secrets/secretstest"
)

func envFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), ".env.dev")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// quote writes a value so that the parser gives it back.
func quote(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`).Replace(value) + `"`
}

func TestDotenvConforms(t *testing.T) {
	secretstest.Run(t, func(t *testing.T) secretstest.Backend {
		name := envFile(t, "")
		kept := map[string]string{}
		keys := map[string]string{"op://Private/db/password": "DB_PASSWORD", "akv://vault1/api-key": "API_KEY"}
		write := func(t *testing.T) {
			t.Helper()
			var text strings.Builder
			for ref, value := range kept {
				text.WriteString(keys[ref] + "=" + quote(value) + "\n")
			}
			if err := os.WriteFile(name, []byte(text.String()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return secretstest.Backend{
			Provider: secrets.NewDotenv(name),
			Refs:     [2]string{"op://Private/db/password", "akv://vault1/api-key"},
			Set:      func(t *testing.T, ref, value string) { t.Helper(); kept[ref] = value; write(t) },
			Remove:   func(t *testing.T, ref string) { t.Helper(); delete(kept, ref); write(t) },
			Break: func(t *testing.T, content string) {
				t.Helper()
				if err := os.WriteFile(name, []byte("A=1\n"+content+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			Mend: func(t *testing.T) {
				t.Helper()
				write(t)
				if err := os.Chmod(name, 0o600); err != nil {
					t.Fatal(err)
				}
			},
			Faults: map[secretstest.Fault]func(t *testing.T, content string){
				secretstest.Denied: func(t *testing.T, _ string) {
					t.Helper()
					if err := os.Chmod(name, 0o644); err != nil { //nolint:gosec // that is the fault
						t.Fatal(err)
					}
				},
				secretstest.Unreachable: func(t *testing.T, _ string) {
					t.Helper()
					if err := os.Remove(name); err != nil {
						t.Fatal(err)
					}
				},
				secretstest.Garbage:   func(t *testing.T, content string) { t.Helper(); put(t, name, content+" "+content) },
				secretstest.Oversized: func(t *testing.T, content string) { t.Helper(); put(t, name, strings.Repeat(content, 1<<20)) },
			},
		}
	})
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDotenvKeys(t *testing.T) {
	name := envFile(t, "DB_PASSWORD=1\nPASSWORD=2\nMY_APP_2_API_KEY=3\nITEM_CODE_OTP=4\nA_B=5\n")
	p := secrets.NewDotenv(name)
	for ref, want := range map[string]string{
		"op://v/db/password":                               "1",
		"op://v/DB/Password":                               "1",
		"op://v/db/section/password":                       "1",
		"op://v/other/password":                            "2",
		"op://v/my app.2/api-key":                          "3",
		"op://v/item/code?attribute=otp":                   "4",
		"op://v/db/password?attribute=value":               "1",
		"akv://vault/a-b":                                  "5",
		"akv://vault/a-b/0123456789abcdef0123456789abcdef": "5",
		"op://v/db/nothing":                                "",
	} {
		results, err := p.Resolve(t.Context(), []string{ref})
		if err != nil || results[ref].Value.Open() != want || (results[ref].Err == nil) != (want != "") {
			t.Errorf("%s gives %q, %v, %v; want %q", ref, results[ref].Value.Open(), results[ref].Err, err, want)
		}
	}
}

func TestDotenvSyntax(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"bare", "K=value", "value"},
		{"bare with blanks", " K = a b \t\r\n", "a b"},
		{"comment behind", "K=a#b #c", "a#b"},
		{"only a comment behind", "K= # c\nL=1", ""},
		{"quotes inside bare", `K=a"b'c`, `a"b'c`},
		{"single", `K='a\n"b" # $x' # c`, `a\n"b" # $x`},
		{"double", `K="a\n\t\"b\" \\ \$x # c"`, "a\n\t\"b\" \\ $x # c"},
		{"several lines", "L=0\nK=\"a\nb\n\"\nM=1", "a\nb\n"},
		{"export", "export K=a", "a"},
		{"a name that begins with export", "exportK=a\nK=b", "b"},
		{"mark and CRLF", "\uFEFFK=a\r\nL=b\r\n", "a"},
		{"CRLF in double quotes", "K=\"a\r\nb\"", "a\nb"},
		{"comments and blank lines", "\n# c\n  # d\n\nK=a", "a"},
		{"equals signs", "K=a=b==", "a=b=="},
		{"empty", "K=\nL=1", ""},
		{"no line end", "K='a'", "a"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			results, err := secrets.NewDotenv(envFile(t, c.text)).Resolve(t.Context(), []string{"akv://vault/k"})
			got := results["akv://vault/k"]
			if err != nil || got.Value.Open() != c.want || c.want == "" && !errors.Is(got.Err, secrets.ErrEmpty) {
				t.Errorf("got %q, %v, %v; want %q", got.Value.Open(), got.Err, err, c.want)
			}
		})
	}
}

func TestDotenvErrorsHaveLinesAndNoContent(t *testing.T) {
	const canary = "hunter2hunter2"
	for _, c := range []struct {
		name, text string
		line       int
	}{
		{"no equals sign", "A=1\n\n" + canary, 3},
		{"name with a dash", "A=1\n" + canary + "-x=1", 2},
		{"name begins with a digit", "1" + canary + "=1", 1},
		{"no name", "=" + canary, 1},
		{"single quote open", "A='" + canary + "\nB=1", 1},
		{"double quote open", "A=\"1\n\"\nB=\"" + canary + "\n\n", 3},
		{"unknown escape", `A="` + canary + `\q"`, 1},
		{"text behind", `A="1" ` + canary, 1},
		{"twice", "A=" + canary + "\nB=\"x\ny\"\nA=2", 4},
		{"NUL", "A=1\nB=" + canary + "\x00", 2},
		{"NUL in quotes", "A=\"\n" + canary + "\x00\"", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := secrets.NewDotenv(envFile(t, c.text)).Resolve(t.Context(), []string{"akv://vault/k"})
			if err == nil || !strings.Contains(err.Error(), "line "+strconv.Itoa(c.line)+":") || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v, want line %d", err, c.line)
			}
		})
	}
}

func TestDotenvFileMustBePrivate(t *testing.T) {
	name := envFile(t, "K=v")
	p := secrets.NewDotenv(name)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Resolve(t.Context(), []string{"akv://vault/k"}); !errors.Is(err, secrets.ErrDenied) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o gave %v", mode, err)
		}
	}
	if err := os.Chmod(name, 0o400); err != nil {
		t.Fatal(err)
	}
	if results, err := p.Resolve(t.Context(), []string{"akv://vault/k"}); err != nil || results["akv://vault/k"].Value.Open() != "v" {
		t.Errorf("mode 400 gave %v, %v", results, err)
	}
	if _, err := secrets.NewDotenv(t.TempDir()).Resolve(t.Context(), nil); !errors.Is(err, secrets.ErrDenied) {
		t.Errorf("a folder gave %v", err)
	}
	if _, err := secrets.NewDotenv(name+".absent").Resolve(t.Context(), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file gave %v", err)
	}
	big := envFile(t, "K="+strings.Repeat("x", 1<<20))
	if _, err := secrets.NewDotenv(big).Resolve(t.Context(), nil); err == nil {
		t.Error("a file of more than 1 MiB was read")
	}
}

// An old file is not read again before its time or size says so.
func TestDotenvIsCached(t *testing.T) {
	name := envFile(t, "K=old")
	past := time.Now().Add(-time.Hour)
	chtimes := func(at time.Time) {
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	chtimes(past)
	p := secrets.NewDotenv(name)
	value := func() string {
		results, err := p.Resolve(t.Context(), []string{"akv://vault/k"})
		if err != nil {
			t.Fatal(err)
		}
		return results["akv://vault/k"].Value.Open()
	}
	first := value()
	if err := os.WriteFile(name, []byte("K=new"), 0o600); err != nil {
		t.Fatal(err)
	}
	chtimes(past)
	same := value()
	chtimes(past.Add(time.Second))
	if changed := value(); first != "old" || same != "old" || changed != "new" {
		t.Errorf("values %q, %q, %q", first, same, changed)
	}
}

// Two writes within one tick of the clock of the file system look alike.
func TestDotenvOfNowIsNotCached(t *testing.T) {
	name := envFile(t, "K=old")
	now := time.Now().Add(time.Minute) // young, however long this takes
	p := secrets.NewDotenv(name)
	versions := map[string]bool{}
	for _, want := range []string{"old", "new"} {
		if err := os.WriteFile(name, []byte("K="+want), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, now, now); err != nil {
			t.Fatal(err)
		}
		results, err := p.Resolve(t.Context(), []string{"akv://vault/k"})
		got := results["akv://vault/k"]
		if err != nil || got.Value.Open() != want {
			t.Errorf("got %q, %v, want %q", got.Value.Open(), err, want)
		}
		versions[got.Version] = true
	}
	if len(versions) != 2 {
		t.Errorf("versions %v, want two", versions)
	}
}

func TestQuotedValuesComeBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := strings.NewReplacer("\x00", "", "\r", "").Replace(rapid.String().Draw(r, "value"))
		results, err := secrets.NewDotenv(envFile(t, "A=1\nK="+quote(want)+" # c\nB=2\n")).Resolve(t.Context(), []string{"akv://vault/k"})
		if err != nil || results["akv://vault/k"].Value.Open() != want {
			r.Fatalf("%q came back as %q, %v", want, results["akv://vault/k"].Value.Open(), err)
		}
	})
}

func FuzzDotenv(f *testing.F) {
	f.Add("K=\"a\nb\" # c\nexport L='x'\n")
	f.Add("K=\\")
	f.Fuzz(func(t *testing.T, text string) {
		const canary = "hunter2hunter2"
		_, err := secrets.NewDotenv(envFile(t, strings.ReplaceAll(text, "a", canary))).Resolve(t.Context(), []string{"akv://vault/k"})
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("error with content: %v", err)
		}
	})
}
