package format

import (
	"encoding"
	"net/netip"
	"reflect"
	"sync"

	"github.com/moby/moby/api/types/network"
)

// plain is v with texts for addresses, ranges of them, hardware addresses and ports, as templates have always seen them: one
// that is not set is empty and counts as false, and all compare with texts. JSON and the names of fields are the same. What has none of them is v itself.
func plain(v any) any {
	from := reflect.ValueOf(v)
	if !from.IsValid() {
		return v
	}
	to := plainType(from.Type(), nil)
	if to == from.Type() {
		return v
	}
	return replace(from, to).Interface()
}

var texts = map[reflect.Type]reflect.Type{
	reflect.TypeFor[netip.Addr]():           reflect.TypeFor[string](),
	reflect.TypeFor[netip.Prefix]():         reflect.TypeFor[string](),
	reflect.TypeFor[network.HardwareAddr](): reflect.TypeFor[string](),
	reflect.TypeFor[network.Port]():         reflect.TypeFor[portText](),
}

// portText is a port and its protocol, "80/tcp", with what templates ask it for.
type portText string

func (p portText) parsed() network.Port {
	port, _ := network.ParsePort(string(p)) // it was written by one
	return port
}

// Port is the number, as a text.
func (p portText) Port() string { return p.parsed().Port() }

// Int is the number.
func (p portText) Int() int { return int(p.parsed().Num()) }

// Proto is the protocol.
func (p portText) Proto() network.IPProtocol { return p.parsed().Proto() }

// plainTypes remembers what plainType has found: types that have to be replaced, by what.
var plainTypes sync.Map

// plainType is what values of t are replaced by; t itself if they stay. Types that hold themselves, by way of those in outer, stay,
// and so do those that reflection cannot make again: with methods of an embedded one.
func plainType(t reflect.Type, outer []reflect.Type) reflect.Type {
	if text, ok := texts[t]; ok {
		return text
	}
	if known, ok := plainTypes.Load(t); ok {
		return known.(reflect.Type)
	}
	for _, o := range outer {
		if o == t {
			return t
		}
	}
	outer = append(outer, t)
	to := t
	switch t.Kind() {
	case reflect.Pointer:
		if elem := plainType(t.Elem(), outer); elem != t.Elem() {
			to = reflect.PointerTo(elem)
		}
	case reflect.Slice:
		if elem := plainType(t.Elem(), outer); elem != t.Elem() {
			to = reflect.SliceOf(elem)
		}
	case reflect.Map:
		key, elem := plainType(t.Key(), outer), plainType(t.Elem(), outer)
		if key != t.Key() || elem != t.Elem() {
			to = reflect.MapOf(key, elem)
		}
	case reflect.Struct:
		to = plainStruct(t, outer)
	}
	if len(outer) == 1 || to != t {
		plainTypes.Store(t, to)
	}
	return to
}

func plainStruct(t reflect.Type, outer []reflect.Type) reflect.Type {
	var fields []reflect.StructField
	changed := false
	for _, f := range reflect.VisibleFields(t) {
		if len(f.Index) > 1 {
			continue
		}
		if !f.IsExported() || f.Anonymous && reflect.PointerTo(f.Type).NumMethod() > 0 {
			return t
		}
		to := plainType(f.Type, outer)
		changed = changed || to != f.Type
		f.Type = to
		fields = append(fields, f)
	}
	if !changed {
		return t
	}
	return reflect.StructOf(fields)
}

// replace makes a value of type to of one whose type it is the replacement of.
func replace(from reflect.Value, to reflect.Type) reflect.Value {
	if from.Type() == to {
		return from
	}
	made := reflect.New(to).Elem()
	if _, ok := texts[from.Type()]; ok {
		if !from.IsZero() {
			if text, err := from.Interface().(encoding.TextMarshaler).MarshalText(); err == nil {
				made.SetString(string(text))
			}
		}
		return made
	}
	switch from.Kind() {
	case reflect.Pointer:
		if !from.IsNil() {
			made.Set(reflect.New(to.Elem()))
			made.Elem().Set(replace(from.Elem(), to.Elem()))
		}
	case reflect.Slice:
		if !from.IsNil() {
			made.Set(reflect.MakeSlice(to, from.Len(), from.Len()))
			for i := range from.Len() {
				made.Index(i).Set(replace(from.Index(i), to.Elem()))
			}
		}
	case reflect.Map:
		if !from.IsNil() {
			made.Set(reflect.MakeMapWithSize(to, from.Len()))
			for key, elem := range from.Seq2() {
				made.SetMapIndex(replace(key, to.Key()), replace(elem, to.Elem()))
			}
		}
	case reflect.Struct:
		for i := range from.NumField() {
			made.Field(i).Set(replace(from.Field(i), to.Field(i).Type))
		}
	}
	return made
}
