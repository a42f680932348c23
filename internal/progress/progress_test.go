package progress

import "testing"

func TestNilFuncIgnoresEvents(t *testing.T) {
	var f Func
	f.Report(Event{Stage: "train"})
	if f.In("outer") != nil {
		t.Fatal("the stage of a nil Func isn't nil")
	}
}

func TestReportAndIn(t *testing.T) {
	var got []Event
	f := Func(func(e Event) { got = append(got, e) })
	f.Report(Event{Stage: "train", Done: 1, Total: 2})
	f.In("relatives").In("train").Report(Event{Stage: "steps", Done: 3})
	if len(got) != 2 || got[0].Stage != "train" || got[0].Done != 1 || got[0].Total != 2 {
		t.Fatalf("got %+v", got)
	}
	if got[1].Stage != "relatives/train/steps" || got[1].Done != 3 {
		t.Fatalf("got %+v", got[1])
	}
}
