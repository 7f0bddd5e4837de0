package runtime

import "testing"

func TestRunTrue(t *testing.T) {
	res := runContainer(t, testConfig(t, busybox(t), "true"))
	if res.status.Code != 0 {
		t.Fatalf("got %+v", res)
	}
}
