package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Platform is what an image runs on; OS is always linux.
type Platform struct{ Architecture string }

// rootfs, imageFile and manifest are the parts of the `docker save` format. Engines since 1.10 load it, with the
// graph drivers as well as with the containerd image store.
type rootfs struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type imageFile struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Created      time.Time `json:"created"`
	Config       Config    `json:"config"`
	RootFS       rootfs    `json:"rootfs"`
	History      []history `json:"history"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// epoch is the time of everything in an archive, so that the same input gives the same bytes and image ids.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// WriteArchive writes all images in the format of `docker save`. program is the linux executable for platform. The output
// depends on the arguments only, byte for byte.
func WriteArchive(w io.Writer, platform Platform, program []byte, specs []Spec) error {
	base, err := layer([]File{
		{Path: "usr", Dir: true, Mode: 0o755},
		{Path: "usr/local", Dir: true, Mode: 0o755},
		{Path: "usr/local/bin", Dir: true, Mode: 0o755},
		{Path: ProgramPath, Body: string(program), Mode: 0o755},
	})
	if err != nil {
		return err
	}
	a := archive{out: tar.NewWriter(w), written: map[string]struct{}{}}
	var manifests []manifest
	for _, spec := range specs {
		m, err := a.image(platform, base, spec)
		if err != nil {
			return fmt.Errorf("image %v: %w", spec.Tags, err)
		}
		manifests = append(manifests, m)
	}
	raw, err := json.Marshal(manifests)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	if err := a.put("manifest.json", raw); err != nil {
		return err
	}
	if err := a.out.Close(); err != nil {
		return fmt.Errorf("finish archive: %w", err)
	}
	return nil
}

// archive writes entries and knows which ones are there: layers are shared.
type archive struct {
	out     *tar.Writer
	written map[string]struct{}
}

func (a archive) image(platform Platform, base []byte, spec Spec) (manifest, error) {
	top, err := layer(spec.Files)
	if err != nil {
		return manifest{}, err
	}
	m := manifest{RepoTags: spec.Tags}
	file := imageFile{
		Architecture: platform.Architecture, OS: "linux", Created: epoch(), Config: spec.Config,
		RootFS: rootfs{Type: "layers"},
	}
	for _, l := range [][]byte{base, top} {
		digest := digestOf(l)
		m.Layers = append(m.Layers, digest+"/layer.tar")
		file.RootFS.DiffIDs = append(file.RootFS.DiffIDs, "sha256:"+digest)
		file.History = append(file.History, history{Created: epoch(), CreatedBy: "ktrdr demo-images"})
		if err := a.put(digest+"/layer.tar", l); err != nil {
			return manifest{}, err
		}
	}
	raw, err := json.Marshal(file)
	if err != nil {
		return manifest{}, fmt.Errorf("encode configuration: %w", err)
	}
	m.Config = digestOf(raw) + ".json"
	return m, a.put(m.Config, raw)
}

func (a archive) put(name string, body []byte) error {
	if _, there := a.written[name]; there {
		return nil
	}
	a.written[name] = struct{}{}
	return writeEntry(a.out, File{Path: name, Body: string(body), Mode: 0o644})
}

// layer is the uncompressed tar of files, in their order.
func layer(files []File) ([]byte, error) {
	var b bytes.Buffer
	out := tar.NewWriter(&b)
	for _, f := range files {
		if err := writeEntry(out, f); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, fmt.Errorf("finish layer: %w", err)
	}
	return b.Bytes(), nil
}

func writeEntry(out *tar.Writer, f File) error {
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode, Uid: f.UID, Gid: f.GID,
		Size: int64(len(f.Body)), ModTime: epoch(), Format: tar.FormatUSTAR,
	}
	switch {
	case f.Dir:
		header.Typeflag, header.Name = tar.TypeDir, f.Path+"/"
	case f.Link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.Link, 0o777
	}
	if err := out.WriteHeader(header); err != nil {
		return fmt.Errorf("write header of %s: %w", f.Path, err)
	}
	if _, err := io.WriteString(out, f.Body); err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}

func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
