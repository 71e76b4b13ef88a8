//go:build !linux

package doctor

import (
	"context"

	"ktrdr.io/fleet/pkg/api"
)

func (c *Config) clock(_ context.Context, _ Request, emit func(api.Check)) {
	emit(row("clock", "", api.CheckSkip, "only looked at on Linux"))
}

func (c *Config) disk(_ context.Context, _ Request, emit func(api.Check)) {
	for _, f := range c.Folders {
		emit(row("disk", f.Path, api.CheckSkip, "%s: only looked at on Linux", f.Purpose))
	}
}
