// What a person should look at in a result: doubtful, small, short, or almost found.
import { keyOf } from "./corrections.js";
import { clock, plain, trackName } from "./words.js";

//: a track of fewer frames is short; an object with a shorter side below so many pixels is small
const SHORT_FRAMES = 3, SMALL_PX = 24;
//: how far above its threshold a score is doubtful, how far below it is a near miss, and how many are listed
const NEAR = 0.1, MISS = 0.5, MOST = 100;

const isSmall = ([x1, y1, x2, y2]) => Math.min(x2 - x1, y2 - y1) < SMALL_PX;

function reasons(score, box, threshold) {
  const list = [];
  if (score < threshold + NEAR) list.push("near the threshold");
  if (isSmall(box)) list.push("small");
  return list;
}

// in a picture: doubtful objects, then what stayed below its threshold
export function worthInPicture(detections, candidates, thresholds) {
  const seen = detections.filter(each => each.source === "detector" || each.source === "verification")
    .map(each => ({ each, why: reasons(each.score, each.bbox, thresholds[each.type_label]) })).filter(({ why }) => why.length);
  const missed = candidates.filter(({ score, type_label: type }) => score < thresholds[type] && score >= thresholds[type] * MISS)
    .map(each => ({ each, why: ["below the threshold, not redacted"], missed: true }));
  return [...seen, ...missed.sort((a, b) => b.each.score - a.each.score)].slice(0, MOST)
    .map(({ each, why, missed = false }) => ({ box: each.bbox, type: each.type_label, key: missed ? null : keyOf(each), candidate: missed ? each : null, words: `${plain(each.type_label)} ${each.score.toFixed(2)}: ${why.join(", ")}` }));
}

// in a video: one moment for each doubtful track, and for each that stayed below its threshold
export function worthInVideo(frames, tracks, candidates, thresholds) {
  const missed = candidates.filter(({ score, type_label: type, track_id: isIn }) => isIn === null && score < thresholds[type] && score >= thresholds[type] * MISS);
  const moments = missed.sort((a, b) => b.score - a.score).slice(0, MOST / 2)
    .map(each => ({ number: each.frame, box: each.bbox, type: each.type_label, key: null, candidate: each, words: `${clock(each.time)} ${plain(each.type_label)} ${each.score.toFixed(2)}: below the threshold, not redacted` }));
  for (const { key, type, frames: length, best } of tracks) {
    if (!best) continue;
    const why = reasons(best.score, best.box, thresholds[type]);
    if (length < SHORT_FRAMES) why.push("short track");
    if (why.length) moments.push({ number: best.number, box: best.box, type, key: typeof key === "number" ? `track_id ${key}` : null, words: `${clock(frames[best.number].time)} ${plain(type)} ${trackName(key)}: ${why.join(", ")}` });
  }
  return moments.sort((a, b) => a.number - b.number).slice(0, MOST);
}
