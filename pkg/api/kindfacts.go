package api

// RegistrationSpec says where a service registers itself, and how to tell its entry there.
// Texts may use the variables of the container's environment, then those of the stack.
type RegistrationSpec struct {
	// URL that answers GET with a JSON list, or with an object that has one list.
	URL string `json:"url"`
	// Match are fields of an entry with their values: an entry that has them all is the
	// service's.
	Match map[string]string `json:"match"`
	// State is the field of the entry that says how the service is, such as status.
	State string `json:"state,omitzero"`
	// Interval between looks. Default 30s.
	Interval Duration `json:"interval,omitzero"`
	// Timeout of one look. Default 5s.
	Timeout Duration `json:"timeout,omitzero"`
	// Grace is how long the service may be missing, after its start or later, before that is
	// told. Default three intervals.
	Grace Duration `json:"grace,omitzero"`
	// Required says that the service has not converged before it is registered.
	Required bool `json:"required,omitzero"`
}

// BackupSpec is about one backup.
type BackupSpec struct {
	// Name is a DNS label.
	Name string `json:"name"`
	// Watch says which files tell that it happened.
	Watch BackupWatchSpec `json:"watch"`
}

// BackupWatchSpec names the files of a backup.
type BackupWatchSpec struct {
	// Path of the folder on the host, absolute. It may use variables.
	Path string `json:"path"`
	// Pattern of the names of the files in it, such as "ktrdr-*.dump". Default: all files.
	Pattern string `json:"pattern,omitzero"`
	// MaxAge of the newest file.
	MaxAge Duration `json:"maxAge"`
	// MinSize of a file that counts. Default 1 byte.
	MinSize ByteSize `json:"minSize,omitzero"`
	// Interval between looks. Default 5m.
	Interval Duration `json:"interval,omitzero"`
}
