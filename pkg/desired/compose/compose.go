package compose

import (
	"context"

	"ktrdr.io/fleet/pkg/api"
)

// Request names the Compose files of one stack and what they may use.
type Request struct {
	// Root is the absolute root of the repository tree: nothing outside of it is read.
	Root string
	// Dir is the project directory relative to Root: relative paths start there.
	Dir string
	// Files are Compose files relative to Root; later ones override earlier ones.
	Files []string
	// Project is the Compose project name.
	Project string
	// Profiles that are on.
	Profiles []string
	// Enable turns services on whatever their profiles say.
	Enable []string
	// Lookup gives the only variables that ${…} may use. A value may hold secret
	// references as api.Placeholder. nil means that there are none. During one Load it gives
	// the same answer each time.
	Lookup func(name string) (string, bool)
	// WorkingDirectory is the host folder for relative binds that are not in the
	// repository; when empty, such binds are errors.
	WorkingDirectory string
	// Delivery of secrets: api.DeliveryEnv, or empty for files, which also reach containers
	// whose file system is read-only.
	Delivery string
	// Visit is told of each path below Root that is there and that the result depends on, in
	// the form of fs.ValidPath; of a folder all below it counts. nil tells nobody.
	Visit func(name string)
}

// Project is what the Compose files ask for. Everything is sorted and free of map order.
type Project struct {
	// Services are the enabled ones, by name.
	Services []api.Service
	// Disabled services are known, but off by profile.
	Disabled []string
	// Networks and Volumes are those that an enabled service uses, by key.
	Networks []api.NetworkSpec
	Volumes  []api.VolumeSpec
	// Warnings name what has no effect, with the reason.
	Warnings []Problem
	// Secrets are problems that make the files unusable and kept nothing else from being
	// checked. Load does not return them as its error.
	Secrets []SecretProblem
}

// SecretProblem is a reference that can't be resolved as it is written, or a secret in the
// clear.
type SecretProblem struct {
	Problem

	// Plaintext is the name of the Compose secret whose value stands in the repository.
	// Whether that is allowed is for the caller to say.
	Plaintext string
}

// Load reads, checks and maps the Compose files. The error is *Error with all problems
// that could be found, or that of ctx. It is safe for concurrent use; it keeps nothing. What
// it returns follows from the request, what Lookup answers, and the files below Root alone;
// Loader depends on that.
func Load(ctx context.Context, req Request) (*Project, error) {
	l, err := open(ctx, req)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := l.stage(); err != nil {
		return nil, err
	}
	model, err := l.model()
	if err != nil {
		return nil, err
	}
	project := l.project(model)
	if err := l.verdict(); err != nil {
		return nil, err
	}
	project.Warnings, project.Secrets = l.found.sortedWarnings(), l.found.secrets
	return project, nil
}
