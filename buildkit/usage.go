package buildkit

import (
	"context"
	"time"

	control "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// DiskUsage lists what builds have left for the next ones.
func (s *controlServer) DiskUsage(ctx context.Context, r *control.DiskUsageRequest) (*control.DiskUsageResponse, error) {
	found, err := s.door.Cache.Usage(ctx, r.Filter)
	if err != nil {
		return nil, err
	}
	answer := &control.DiskUsageResponse{}
	for _, u := range found {
		if young(u, time.Duration(r.AgeLimit)) {
			continue
		}
		answer.Record = append(answer.Record, recordOf(u))
	}
	return answer, nil
}

// young tells whether a record was used within the age that a client asks to go beyond.
func young(u *client.UsageInfo, age time.Duration) bool {
	if age <= 0 {
		return false
	}
	used := u.CreatedAt
	if u.LastUsedAt != nil {
		used = *u.LastUsedAt
	}
	return time.Since(used) < age
}

// Prune removes what builds have left, and tells of each thing removed.
func (s *controlServer) Prune(r *control.PruneRequest, stream control.Control_PruneServer) error {
	return s.door.Cache.Prune(stream.Context(), client.PruneInfo{
		Filter: r.Filter, All: r.All, KeepDuration: time.Duration(r.KeepDuration),
		ReservedSpace: r.ReservedSpace, MaxUsedSpace: r.MaxUsedSpace, MinFreeSpace: r.MinFreeSpace,
	}, func(u client.UsageInfo) error { return stream.Send(recordOf(&u)) })
}

func recordOf(u *client.UsageInfo) *control.UsageRecord {
	out := &control.UsageRecord{
		ID: u.ID, Mutable: u.Mutable, InUse: u.InUse, Size: u.Size, Parents: u.Parents, CreatedAt: timestamppb.New(u.CreatedAt),
		UsageCount: int64(u.UsageCount), Description: u.Description, RecordType: string(u.RecordType), Shared: u.Shared,
	}
	if u.LastUsedAt != nil {
		out.LastUsedAt = timestamppb.New(*u.LastUsedAt)
	}
	return out
}
