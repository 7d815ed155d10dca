/** Functions on structs: caller and function read and write fields of the same memory, and nothing is encoded. */
import { InvalidValue } from "../base/errors.ts";
import { type Struct, type StructFields, isStruct, struct as layOut } from "../codec/struct.ts";
import type { StructDefinition } from "../function/define-function.ts";
import type { RawFunction } from "../function/raw.ts";
import { isThenable } from "../schema/checker.ts";
import type { FunctionKind, InPlace } from "./kind.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export const struct: FunctionKind<StructDefinition> = {
  name: "struct",

  describe: ({ input, output }) => ({ input: input.fields, output: output.fields }),

  prepare: run,

  open: ({ input, output }, definition): InPlace => ({
    by: "place",
    input: structOf(input, definition?.input),
    output: structOf(output, definition?.output),
  }),

  nothing: () => undefined,
};

// ---- the worker's end ----

function run(name: string, { input, output, run }: StructDefinition): RawFunction {
  const inputs = new ViewCache(name, "input", input);
  const outputs = new ViewCache(name, "output", output);
  const length = output.byteLength;
  return (from, to, ctx) => {
    const source = inputs.at(from);
    const target = outputs.at(to);
    // A field that the function leaves alone is 0, not what an earlier call has left.
    to.fill(0, 0, length);
    const result: unknown = run(source as never, target as never, ctx);
    return isThenable(result) ? Promise.resolve(result).then(() => length) : length;
  };
}

/** Callers use the same memory again, so the worker passes the same bytes, and the same views of structs serve them. */
class ViewCache {
  readonly #name: string;
  readonly #side: "input" | "output";
  readonly #struct: Struct;
  #bytes: Bytes | undefined;
  #view: unknown;
  readonly #views = new WeakMap<Bytes, unknown>();

  constructor(name: string, side: "input" | "output", struct: Struct) {
    this.#name = name;
    this.#side = side;
    this.#struct = struct;
  }

  at(bytes: Bytes): unknown {
    if (bytes === this.#bytes) return this.#view;
    let view = this.#views.get(bytes);
    if (view === undefined) {
      if (bytes.length < this.#struct.byteLength || bytes.byteOffset % 8 !== 0) {
        const problem = `a struct of ${this.#struct.byteLength} bytes was expected, and ${bytes.length} have come`;
        throw new InvalidValue(this.#name, this.#side, "", problem);
      }
      view = this.#struct.view(bytes.buffer, bytes.byteOffset);
      this.#views.set(bytes, view);
    }
    this.#bytes = bytes;
    return (this.#view = view);
  }
}

// ---- the caller's end ----

/** The layout as the node says it, which must be that of the definition. */
function structOf(fields: unknown, defined: unknown): Struct {
  if (typeof fields !== "object" || fields === null)
    throw new TypeError("its struct has no fields");
  const told = layOut(fields as StructFields);
  if (defined === undefined) return told;
  if (isStruct(defined) && Bun.deepEquals(Object.entries(defined.fields), Object.entries(fields)))
    return told;
  throw new TypeError(
    "its struct is not the one that is defined; use the module that the node has",
  );
}
