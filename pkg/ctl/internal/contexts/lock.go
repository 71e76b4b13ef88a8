package contexts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockPause is between two looks at a lock that somebody else has.
const lockPause = 50 * time.Millisecond

// Lock keeps other runs of ktrdrctl from renewing until unlock is called. The lock is a file
// beside the one with the contexts, and goes with the process that has it.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock contexts: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock contexts: %w", err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock contexts: another ktrdrctl has %s.lock: %w", path, ctx.Err()), f.Close())
		case <-time.After(lockPause):
		}
	}
}
