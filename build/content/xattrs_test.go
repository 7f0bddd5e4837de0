package content

import "testing"

// TestXattrs: what a client's system has of its own, and no file here can have, is no difference.
func TestXattrs(t *testing.T) {
	if got := Xattrs(map[string][]byte{
		"com.apple.provenance": []byte("x"), "com.apple.quarantine": nil, "security.selinux": []byte("l"), "system.posix_acl_access": []byte("a"),
	}); got != "" {
		t.Error(got)
	}
	got := Xattrs(map[string][]byte{"user.b": []byte("2"), "user.a": []byte("1"), "security.capability": []byte("c"), "com.apple.provenance": []byte("x")})
	if want := "security.capability=1:cuser.a=1:1user.b=1:2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
