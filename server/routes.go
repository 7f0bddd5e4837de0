package server

import "slices"

// rows is the table of everything the API answers. A path that is not here is 404 "page not found".
func (s *Server) rows() []route {
	return slices.Concat(s.containerRows(), s.imageRows(), s.keeperRows(), s.systemRows(), s.grpcRows(), debugRows(), s.pluginRows(), swarmRows(), absentRows())
}

func (s *Server) containerRows() []route {
	return []route{
		{"GET /containers/json", Observe, s.containerList},
		{"POST /containers/create", Manage, s.containerCreate},
		{"POST /containers/prune", Manage, s.containersPrune},
		{"GET /containers/{id}/json", Observe, s.containerInspect},
		{"GET /containers/{id}/top", Observe, s.containerTop},
		{"GET /containers/{id}/logs", Observe, s.containerLogs},
		{"GET /containers/{id}/stats", Observe, s.containerStats},
		{"GET /containers/{id}/changes", Observe, s.containerChanges},
		{"HEAD /containers/{id}/archive", Enter, s.archiveStat},
		{"GET /containers/{id}/archive", Enter, s.archiveGet},
		{"PUT /containers/{id}/archive", Enter, s.archivePut},
		{"GET /containers/{id}/export", Enter, s.containerExport},
		{"GET /containers/{id}/attach/ws", Enter, s.containerAttachWebsocket},
		{"POST /containers/{id}/attach", Enter, s.containerAttach},
		{"POST /containers/{id}/exec", Enter, s.execCreate},
		{"POST /containers/{id}/resize", Operate, s.containerResize},
		{"POST /containers/{id}/start", Operate, s.containerStart},
		{"POST /containers/{id}/stop", Operate, s.containerStop},
		{"POST /containers/{id}/restart", Operate, s.containerRestart},
		{"POST /containers/{id}/kill", Operate, s.containerKill},
		{"POST /containers/{id}/pause", Operate, s.containerPause},
		{"POST /containers/{id}/unpause", Operate, s.containerUnpause},
		{"GET /containers/{id}/checkpoints", Observe, s.ifExperimental(s.checkpointList)},
		{"POST /containers/{id}/checkpoints", Operate, s.ifExperimental(s.checkpointCreate)},
		{"DELETE /containers/{id}/checkpoints/{checkpoint}", Operate, s.ifExperimental(s.checkpointRemove)},
		{"POST /containers/{id}/wait", Observe, s.containerWait},
		{"POST /containers/{id}/rename", Operate, s.containerRename},
		{"POST /containers/{id}/update", Operate, s.containerUpdate},
		{"DELETE /containers/{id}", Manage, s.containerRemove},

		{"GET /exec/{id}/json", Observe, s.execInspect},
		{"POST /exec/{id}/start", Enter, s.execStart},
		{"POST /exec/{id}/resize", Enter, s.execResize},
	}
}

func (s *Server) imageRows() []route {
	return []route{
		{"GET /images/json", Observe, s.imageList},
		{"GET /images/get", Observe, s.imageSave},
		{"GET /images/search", Observe, s.imageSearch},
		{"POST /images/create", Manage, s.imageCreate},
		{"POST /images/load", Manage, s.imageLoad},
		{"POST /commit", Manage, s.containerCommit},
		{"GET /cove/containers/{id}/snapshots", Observe, s.snapshotList},
		{"POST /cove/containers/{id}/snapshots", Manage, s.snapshotCreate},
		{"DELETE /cove/containers/{id}/snapshots/{snapshot}", Manage, s.snapshotRemove},
		{"POST /cove/containers/{id}/snapshots/{snapshot}/rollback", Manage, s.snapshotRollback},
		{"GET /cove/containers/{id}/snapshots/{snapshot}/changes", Observe, s.snapshotChanges},
		{"POST /cove/containers/{id}/clone", Manage, s.containerClone},
		{"POST /images/prune", Manage, s.imagesPrune},
		{"POST /build", Manage, s.build},
		{"POST /build/cancel", Manage, s.buildCancel},
		{"POST /build/prune", Manage, s.buildPrune},
		{"GET /images/{name}/json", Observe, s.imageInspect},
		{"GET /images/{name}/history", Observe, s.imageHistory},
		{"GET /images/{name}/attestations", Observe, s.imageAttestations},
		{"GET /images/{name}/get", Observe, s.imageSave},
		{"POST /images/{name}/push", Manage, s.imagePush},
		{"POST /images/{name}/tag", Manage, s.imageTag},
		{"DELETE /images/{name}", Manage, s.imageRemove},
		{"GET /distribution/{name}/json", Observe, s.distributionInspect},
	}
}

// keeperRows are volumes and networks.
func (s *Server) keeperRows() []route {
	return []route{
		{"GET /volumes", Observe, s.volumeList},
		{"POST /volumes/create", Manage, s.volumeCreate},
		{"POST /volumes/prune", Manage, s.volumesPrune},
		{"GET /volumes/{name}", Observe, s.volumeInspect},
		{"PUT /volumes/{name}", Manage, s.volumeUpdate},
		{"DELETE /volumes/{name}", Manage, s.volumeRemove},

		{"GET /networks", Observe, s.networkList},
		{"POST /networks/create", Manage, s.networkCreate},
		{"POST /networks/prune", Manage, s.networksPrune},
		{"GET /networks/{id}", Observe, s.networkInspect},
		{"POST /networks/{id}/connect", Operate, s.networkConnect},
		{"POST /networks/{id}/disconnect", Operate, s.networkDisconnect},
		{"DELETE /networks/{id}", Manage, s.networkRemove},
		{"POST /cove/containers/{id}/ports", Operate, s.portAdd},
		{"DELETE /cove/containers/{id}/ports", Operate, s.portRemove},
	}
}

func (s *Server) systemRows() []route {
	return []route{
		{"GET /_ping", Anyone, s.ping},
		{"HEAD /_ping", Anyone, s.ping},
		{"GET /version", Anyone, s.versionInfo},
		{"GET /info", Observe, s.info},
		{"GET /events", Observe, s.events},
		{"GET /system/df", Observe, s.diskUsage},
		{"POST /cove/system/check", Administer, s.systemCheck},
		{"POST /auth", Observe, s.auth},
	}
}

// pluginRows answer what a dockerd answers that has no plugins.
func (s *Server) pluginRows() []route {
	return []route{
		{"GET /plugins", Observe, s.pluginList},
		{"GET /plugins/{name}/json", Observe, noPlugin},
		{"POST /plugins/{name}/enable", Administer, pluginEnable},
		{"POST /plugins/{name}/disable", Administer, noPlugin},
		{"POST /plugins/{name}/push", Administer, noPlugin},
		{"POST /plugins/{name}/upgrade", Administer, noPlugin},
		{"POST /plugins/{name}/set", Administer, noPlugin},
		{"DELETE /plugins/{name}", Administer, noPlugin},
	}
}

// absentRows are the calls of a Docker daemon that are not built yet.
func absentRows() []route {
	return []route{
		{"GET /plugins/privileges", Observe, absent("plugins")},
		{"POST /plugins/pull", Administer, absent("plugins")},
		{"POST /plugins/create", Administer, absent("plugins")},
	}
}

// swarmRows answer what a dockerd answers that is in no swarm.
func swarmRows() []route {
	rows := []route{
		{"GET /swarm", Observe, noSwarm},
		{"GET /swarm/unlockkey", Administer, noSwarm},
		{"POST /swarm/init", Administer, absent("swarm mode")},
		{"POST /swarm/join", Administer, absent("swarm mode")},
		{"POST /swarm/leave", Administer, notInSwarm},
		{"POST /swarm/update", Administer, noSwarm},
		{"POST /swarm/unlock", Administer, noSwarm},
		{"GET /services/{id}/logs", Observe, noSwarm},
		{"GET /tasks/{id}/logs", Observe, noSwarm},
	}
	for _, kind := range []string{"nodes", "services", "tasks", "secrets", "configs"} {
		rows = append(rows,
			route{"GET /" + kind, Observe, noSwarm},
			route{"GET /" + kind + "/{id}", Observe, noSwarm},
		)
		if kind == "tasks" {
			continue
		}
		rows = append(rows,
			route{"POST /" + kind + "/{id}/update", Administer, noSwarm},
			route{"DELETE /" + kind + "/{id}", Administer, noSwarm},
		)
		if kind != "nodes" {
			rows = append(rows, route{"POST /" + kind + "/create", Administer, noSwarm})
		}
	}
	return rows
}
