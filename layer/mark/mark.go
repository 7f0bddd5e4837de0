// Package mark makes the folder that lies over every image: by the file in it programs know that they are in a container.
package mark

import "os"

// Make makes the file in dir, which is there, unless it is there already: containers may have it in sight.
func Make(dir string) error {
	f, err := os.OpenFile(dir+"/.dockerenv", os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	return f.Close()
}
