// Package compose turns the Compose files of one stack into api specs: what `docker compose
// up` would create, every attribute mapped, refused or named as ignored.
//
// It reads nothing outside of the repository tree (symbolic links included), no process
// environment, no implicit .env and nothing remote, never builds an image and never sees a
// secret value: references travel as placeholders. Files that Compose would read by itself
// (include, extends) are read here, under limits, and handed to compose-go as private copies.
//
// The steps, one file each: stage (read and rewrite the files), variables (what ${…} means
// and what is missing), schema (all violations of the Compose schema), model (compose-go),
// check (consistency of the model), container and its parts (the mapping), attributes (what
// becomes of each field of compose-go's types).
//
// pkg/desired calls it, once for each stack of a node; a Loader spares it nodes that differ in
// nothing that their Compose files ask for.
package compose
