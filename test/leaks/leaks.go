package leaks

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Find tells of goroutines that do not end. What is on its way out, such as that of a connection
// that was closed, has a minute.
func Find() error { return find() }

func find(options ...goleak.Option) error {
	for end := time.Now().Add(time.Minute); ; {
		err := goleak.Find(options...) // which has patience for half a second
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

// None returns what fails a test that leaves goroutines behind which were not there now.
func None(t testing.TB) (check func()) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	return func() {
		t.Helper()
		if err := find(before); err != nil {
			t.Error("goroutines are left:", err)
		}
	}
}

// Main runs the tests of a package, and fails if they leave goroutines behind.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left:", err)
			code = 1
		}
	}
	os.Exit(code)
}
