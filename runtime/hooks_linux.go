package runtime

func (c *creation) runHooks() error { return nil }
