package server

// rows is the table of everything the API answers.
func (s *Server) rows() []route {
	return []route{
		{"GET /_ping", Anyone, s.ping},
		{"HEAD /_ping", Anyone, s.ping},
	}
}
