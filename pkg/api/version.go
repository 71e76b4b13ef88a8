package api

// Version and Commit are set by the linker (make build). They stay "dev" and
// empty in `go run` and in tests.
var (
	Version = "dev" //nolint:gochecknoglobals // set with -ldflags -X
	Commit  = ""    //nolint:gochecknoglobals // set with -ldflags -X
)

// APIVersion is the only accepted apiVersion of desired state.
const APIVersion = "ktrdr.io/v1alpha1"

// Kinds of desired state.
const (
	KindFleet = "Fleet"
	KindNode  = "Node"
	KindStack = "Stack"
)

// Labels that the agent writes on what it creates, beside Compose's own.
const (
	// LabelStack is the stack's name; its presence marks an object as ours.
	LabelStack = "io.ktrdr.stack"
	// LabelNode is the name of the node whose agent created the object.
	LabelNode = "io.ktrdr.node"
	// LabelSpecHash is the versioned hash of the spec that the object was created from.
	LabelSpecHash = "io.ktrdr.spec-hash"
	// LabelSecretDigest is the keyed digest of the secret values the container was created with.
	LabelSecretDigest = "io.ktrdr.secret-digest"
	// LabelDelivery is how the container got its secrets (DeliveryFiles, DeliveryEnv); absent
	// on containers without any, and on those of Compose and of agents before it.
	LabelDelivery = "io.ktrdr.delivery"
	// LabelSecretFolder names the folder that the container reads its secrets from.
	LabelSecretFolder = "io.ktrdr.secret-folder"
)

// Labels that docker compose writes and reads. Source: docker/compose pkg/api/labels.go.
const (
	LabelProject     = "com.docker.compose.project"
	LabelService     = "com.docker.compose.service"
	LabelNumber      = "com.docker.compose.container-number"
	LabelOneoff      = "com.docker.compose.oneoff"
	LabelConfigHash  = "com.docker.compose.config-hash"
	LabelWorkingDir  = "com.docker.compose.project.working_dir"
	LabelConfigFiles = "com.docker.compose.project.config_files"
	LabelDependsOn   = "com.docker.compose.depends_on"
	LabelImage       = "com.docker.compose.image"
	LabelReplace     = "com.docker.compose.replace"
	LabelNetwork     = "com.docker.compose.network"
	LabelVolume      = "com.docker.compose.volume"
	LabelVersion     = "com.docker.compose.version"
)
