/** What a worker tells of the module that it runs: its functions, the lines that they log, how far their calls have come. */
import { type Static, Type } from "@sinclair/typebox";
import { index, sequence, text } from "./fields.ts";

/** What a client must know of a function that is not raw, to call it. Its kind (`src/kinds/`) knows the rest, and checks it. */
const FunctionDescription = Type.Object({
  kind: text,
  input: Type.Unknown(),
  output: Type.Unknown(),
  /** Names the way in which its values can be written that both know; of a version that has none, they are MessagePack. */
  form: Type.Optional(text),
});
export type FunctionDescription = Static<typeof FunctionDescription>;

/** A function of a module, in the order of its index; what else it exports is named to explain a wrong name. */
export const Exports = Type.Object({
  functions: Type.Array(text, { maxItems: 0xffffe }),
  others: Type.Record(Type.String(), text),
  /** By name, those that are not raw. After all functions comes, hidden, the one that hands out results that did not fit. */
  described: Type.Optional(Type.Record(Type.String(), FunctionDescription)),
});
export type Exports = Static<typeof Exports>;

/** A line that a function has logged. */
const logLine = {
  worker: index,
  level: Type.Union([
    Type.Literal("debug"),
    Type.Literal("info"),
    Type.Literal("warn"),
    Type.Literal("error"),
  ]),
  message: text,
  /** JSON. */
  data: Type.Union([text, Type.Null()]),
  atMs: Type.Number(),
  /** Lines of this worker before it that were too many. */
  dropped: index,
};
export const LogLine = Type.Object(logLine);
export type LogLine = Static<typeof LogLine>;
/** How far a call has come, of its own account. */
const report = {
  worker: index,
  slot: index,
  sequence,
  fraction: Type.Number({ minimum: 0, maximum: 1 }),
  message: Type.Union([text, Type.Null()]),
  /** Reports of this call before it that came too fast. */
  dropped: index,
};
export const ProgressReport = Type.Object(report);
export type ProgressReport = Static<typeof ProgressReport>;
