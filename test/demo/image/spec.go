package image

import "time"

// Label marks every image that this package makes; its value is the role of the image.
const Label = "io.ktrdr.demo"

// Spec describes one image.
type Spec struct {
	// Tags are full references, such as prom/prometheus:latest.
	Tags []string
	// Config is what containers inherit.
	Config Config
	// Files lie on top of the program, which every image has at ProgramPath.
	Files []File
}

// ProgramPath is where ktrdrsim lies in every image.
const ProgramPath = "usr/local/bin/ktrdrsim"

// Config is the part of an image that containers inherit, in the encoding of the image specification.
type Config struct {
	User         string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Env          []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	Healthcheck  *Healthcheck        `json:",omitempty"`
	Volumes      map[string]struct{} `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
}

// Healthcheck is an image's own check; durations are encoded in nanoseconds, 0 means the engine's default.
type Healthcheck struct {
	Test        []string      `json:",omitempty"`
	Interval    time.Duration `json:",omitempty"`
	Timeout     time.Duration `json:",omitempty"`
	StartPeriod time.Duration `json:",omitempty"`
	Retries     int           `json:",omitempty"`
}

// File is one entry of an image: a directory (Dir), a symbolic link (Link) or a file with Body.
type File struct {
	// Path has no leading slash. Directories above it must be listed before it.
	Path string
	Dir  bool
	Link string
	Body string
	// Mode are the permission bits; UID and GID the owner.
	Mode     int64
	UID, GID int
}
