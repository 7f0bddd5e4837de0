package testkit

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Windows makes an image as Microsoft's registry has them: for a version of Windows, on a base that no other registry may keep and that is to be had
// at urls, which are told its digest, with a layer of its own on top. The base is the first of its layers.
func Windows(version, text string, urls func(base digest.Digest) []string) (*Image, error) {
	im, err := Craft(fmt.Sprintf(`C {"os":"windows","os.version":%q,"architecture":"amd64","config":{"Cmd":["c:\\windows\\system32\\cmd.exe"],"WorkingDir":"C:\\"}}
L comp=gzip media=application/vnd.docker.image.rootfs.foreign.diff.tar.gzip; d Files; d Files/Windows; f Files/Windows/base.dll %[2]q; d Hives; f Hives/System_Base hive
L comp=gzip; d Files; f Files/hello.txt %[2]q; f Files/Program.exe MZ; d Hives; f Hives/System_Delta delta`, version, text), nil)
	if err != nil {
		return nil, err
	}
	var manifest map[string]any
	if err := json.Unmarshal(im.Manifest, &manifest); err != nil {
		return nil, err
	}
	base := manifest["layers"].([]any)[0].(map[string]any)
	base["urls"] = urls(digest.FromBytes(im.Layers[0]))
	im.Manifest, err = json.Marshal(manifest)
	return im, err
}
