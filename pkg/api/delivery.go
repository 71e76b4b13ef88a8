package api

import (
	"crypto/sha256"
	"encoding/hex"
)

// Where a container finds its secrets when they are delivered as files.
const (
	// ExecTarget is where ktrdr-exec is bound.
	ExecTarget = "/.ktrdr/exec"
	// SecretsTarget is where the folder of the values is bound.
	SecretsTarget = "/.ktrdr/secrets"
	// SecretsCurrent is the link in that folder to the present values; it is replaced at once.
	SecretsCurrent = "..data"
	// SecretsRotation is the part of that folder that holds the old and the new value of a
	// secret while a rotation command runs.
	SecretsRotation = "rotation"
	RotationOld     = "old"
	RotationNew     = "new"
)

// Limits of the size of a value, in bytes.
const (
	MaxSecret = 1 << 20
	// MaxVariable is the kernel's limit for NAME=value without its final zero.
	// Source: Linux MAX_ARG_STRLEN.
	MaxVariable = 128<<10 - 1
)

// SecretFileName is the name of the file that holds the value of a reference: references
// have characters that file names can't have.
func SecretFileName(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	return hex.EncodeToString(sum[:])
}
