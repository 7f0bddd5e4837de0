package main

import "fmt"

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func that(ok bool, what ...any) {
	if !ok {
		panic(fmt.Sprint(what...))
	}
}
