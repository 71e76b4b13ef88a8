package state_test

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/state"
	"ktrdr.io/fleet/pkg/api"
)

// The test binary is its own victim: with this variable set it writes to the folder that
// the variable names until somebody kills it, or only holds the folder open.
const (
	writerFolder = "KTRDR_STATE_TEST_WRITER"
	holderFolder = "KTRDR_STATE_TEST_HOLDER"
)

func TestMain(m *testing.M) {
	if folder := os.Getenv(writerFolder); folder != "" {
		fmt.Println("stopped:", writeForever(folder))
		os.Exit(1)
	}
	if folder := os.Getenv(holderFolder); folder != "" {
		_, err := state.Open(state.Config{Dir: folder}, slog.New(slog.DiscardHandler))
		fmt.Println("open:", err)
		time.Sleep(time.Minute)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForever prints n after the nth round of writes is durable.
func writeForever(folder string) error {
	s, err := state.Open(state.Config{Dir: folder}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if told := s.Healed(); told != "" {
		return fmt.Errorf("healed: %s", told)
	}
	n, _ := strconv.Atoi(s.Jobs()["counter"])
	for ; ; n++ {
		fmt.Println(n)
		text := strconv.Itoa(n + 1)
		if err := s.SetAdoption(fmt.Sprintf("c%03d", n%100), state.Adoption{SpecHash: text}); err != nil {
			return err
		}
		if err := s.SetLastGood(&api.Desired{Revision: text, Node: bulk(n)}); err != nil {
			return err
		}
		if err := s.SetJob("counter", text); err != nil {
			return err
		}
	}
}

// bulk makes records of different sizes, so that pages are freed, joined and overflow.
func bulk(n int) string { return fmt.Sprintf("%0*d", 1+(n*2711)%20000, n) }
