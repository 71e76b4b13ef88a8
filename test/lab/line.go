package lab

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// Fault is what a line does to the frames that go one way. The zero value carries all.
type Fault struct {
	// Delay is how long each frame is under way; their order stays.
	Delay time.Duration
	// Loss is the share of frames that are lost, 0 to 1; 1 cuts that way without a sign.
	Loss float64
}

// Line is a cable that goes through this process, so that it can be slow, lossy or cut one
// way, as no kernel without netem can. Its methods are safe for concurrent use.
type Line struct {
	mu    sync.Mutex
	chaos *rand.Rand
	fault [2]Fault
	count [2]Frames

	ends [2]*os.File
	done sync.WaitGroup
}

// Frames counts what a line did one way.
type Frames struct{ Carried, Lost int }

// Ways of a line.
const (
	toMachine = iota
	fromMachine
)

// queued bounds the frames under way, as a switch does: 4,096 full ones are 100 ms of 500 Mbit/s.
const queued = 4096

// NewLine makes a line that has no fault; the seed decides which frames a lossy one loses.
func NewLine(seed uint64) *Line {
	return &Line{chaos: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // chance that can be repeated is what is wanted
}

// Set gives the line other faults, for frames that come after.
func (l *Line) Set(to, from Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = [2]Fault{toMachine: to, fromMachine: from}
}

// Counts are the frames towards the machine and from it.
func (l *Line) Counts() (to, from Frames) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count[toMachine], l.count[fromMachine]
}

// open makes eth0 in the machine's namespace and a port in the network's, and begins to carry.
func (l *Line) open(machine, network, port string) (err error) {
	if l.ends[fromMachine] != nil {
		return errors.New("a line is for one machine")
	}
	if err := within(machine, func() (err error) { l.ends[toMachine], err = openTap("eth0"); return err }); err != nil {
		return err
	}
	if err := within(network, func() (err error) { l.ends[fromMachine], err = openTap(port); return err }); err != nil {
		return errors.Join(err, l.ends[toMachine].Close())
	}
	l.carry(toMachine, l.ends[fromMachine], l.ends[toMachine])
	l.carry(fromMachine, l.ends[toMachine], l.ends[fromMachine])
	return nil
}

type frame struct {
	due  time.Time
	data []byte
}

// carry moves frames one way until an end is closed.
func (l *Line) carry(way int, in, out *os.File) {
	queue := make(chan frame, queued)
	l.done.Go(func() {
		defer close(queue)
		for buffer := make([]byte, 1<<16); ; {
			n, err := in.Read(buffer)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil { // the device is down
				time.Sleep(10 * time.Millisecond)
				continue
			}
			if delay, lost := l.fate(way); !lost {
				select {
				case queue <- frame{time.Now().Add(delay), append([]byte(nil), buffer[:n]...)}:
				default: // full: a switch drops too
				}
			}
		}
	})
	l.done.Go(func() {
		for f := range queue {
			time.Sleep(time.Until(f.due))
			_, _ = out.Write(f.data) // a device that is down takes nothing
		}
	})
}

func (l *Line) fate(way int) (delay time.Duration, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lost = l.chaos.Float64() < l.fault[way].Loss; lost {
		l.count[way].Lost++
	} else {
		l.count[way].Carried++
	}
	return l.fault[way].Delay, lost
}

// close ends the line; its devices go away with it.
func (l *Line) close() error {
	var errs []error
	for way, end := range l.ends {
		if end != nil {
			errs = append(errs, end.Close())
		}
		l.ends[way] = nil
	}
	l.done.Wait()
	return errors.Join(errs...)
}
