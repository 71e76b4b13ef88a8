package controller

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestImpatient: what comes in time is read, what does not come is not waited for.
func TestImpatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		t.Cleanup(func() { _, _ = here.Close(), there.Close() })
		conn := impatient{here, time.Minute}
		sent := make(chan error, 1)
		go func() {
			time.Sleep(59 * time.Second)
			_, err := there.Write([]byte("x"))
			sent <- err
		}()
		if n, err := conn.Read(make([]byte, 8)); n != 1 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("who sends nothing: %v", err)
		}
	})
}
