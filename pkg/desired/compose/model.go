package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// model lets compose-go merge, interpolate and normalise the staged files, and applies
// profiles. It returns the model with placeholders in place; nothing is checked yet.
func (l *loading) model() (*types.Project, error) {
	details := types.ConfigDetails{
		WorkingDir:  l.dir,
		ConfigFiles: l.main,
		Environment: maps.Clone(l.variables.flat()),
	}
	loaded, err := l.load(details)
	if ctxErr := l.ctx.Err(); ctxErr != nil {
		return nil, fmt.Errorf("load compose files: %w", ctxErr)
	}
	if err != nil {
		l.diagnose(details, err)
		l.settle(nil)
		return nil, l.verdict()
	}
	shown, ok := reflect.TypeAssert[*types.Project](l.refs.showAll(reflect.ValueOf(loaded)))
	if !ok {
		return nil, errors.New("load compose files: the model changed its type")
	}
	l.enable(shown)
	l.settle(shown.Services)
	return shown, nil
}

// load calls compose-go, whose type assertions may panic on shapes that no schema check
// has seen yet (an extended file is validated only after it was merged).
func (l *loading) load(details types.ConfigDetails) (project *types.Project, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the Compose files have a shape that can't be read: %v", cause)
		}
	}()
	return loader.LoadWithContext(l.ctx, details, func(o *loader.Options) {
		o.SetProjectName(l.req.Project, true)
		o.Profiles = l.req.Profiles
		o.Interpolate.Substitute = l.substituter()
		o.Interpolate.TypeCastMapping = l.staged.casts()
		o.SkipConsistencyCheck = true
		o.SkipResolveEnvironment = true
		o.SkipResolveLabels = true
		o.ResourceLoaders = []loader.ResourceLoader{copiesOnly{l}}
	})
}

// copiesOnly hands out the private copies and nothing else: compose-go's own loader,
// which reads any path, never gets a turn.
type copiesOnly struct{ l *loading }

func (c copiesOnly) Accept(string) bool { return true }

func (c copiesOnly) Load(_ context.Context, file string) (string, error) {
	if _, ok := c.l.copies[file]; !ok {
		return "", fmt.Errorf("%s was not read beforehand", file)
	}
	return file, nil
}

func (c copiesOnly) Dir(file string) string {
	if kept, ok := c.l.copies[file]; ok {
		return kept.dir
	}
	return file
}

// enable turns services on that the request names, whatever their profiles say. Other
// services of the same profile stay off, unlike with compose-go's WithServicesEnabled.
func (l *loading) enable(p *types.Project) {
	for _, name := range l.req.Enable {
		if service, ok := p.DisabledServices[name]; ok {
			if p.Services == nil {
				p.Services = types.Services{}
			}
			p.Services[name] = service
			delete(p.DisabledServices, name)
			continue
		}
		if _, ok := p.Services[name]; !ok {
			l.found.errorf("services", "service %q is to be enabled but is not there", name)
		}
	}
}
