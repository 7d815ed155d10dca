/** Messages as they are checked when they come: each kind has a schema, compiled once. */
import type { TSchema } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { ProtocolError } from "../base/errors.ts";
import { MESSAGE_PACK } from "./frame.ts";
import type { Packing } from "./frames/framing.ts";

/** The messages of one direction of a connection, checked by compiled schemas. */
export class Vocabulary<T extends { t: string }> {
  /** How both sides write their messages. */
  readonly packing: Packing;
  readonly #schemas: Map<string, TSchema>;
  /** Compiled when a message of the kind first comes: compiling all at start would take longer than starting. */
  readonly #checks = new Map<string, ReturnType<typeof TypeCompiler.Compile>>();

  constructor(schemas: readonly TSchema[], packing: Packing = MESSAGE_PACK) {
    this.packing = packing;
    this.#schemas = new Map(
      schemas.map((schema) => [schema["properties"].t.const as string, schema]),
    );
  }

  /** The message, known to be sound. Throws {@link ProtocolError} that names the field which is not. */
  parse(message: unknown): T {
    const t = (message as { t?: unknown } | null)?.t;
    const check = typeof t === "string" ? this.#checkFor(t) : undefined;
    if (!check)
      throw new ProtocolError(
        `unknown control message ${typeof t === "string" ? JSON.stringify(t) : "without a type"}; is the address a node's where a node is meant, and a manager's where a manager is? Else update the older side`,
      );
    if (!check.Check(message)) {
      const first = check.Errors(message).First();
      throw new ProtocolError(
        `control message "${t}" is malformed at ${first?.path || "/"}: ${first?.message}; update the older side`,
      );
    }
    return message as T;
  }

  /** Compiles the check of a kind of message ahead of time. */
  prepare(t: T["t"]): void {
    this.#checkFor(t);
  }

  #checkFor(t: string): ReturnType<typeof TypeCompiler.Compile> | undefined {
    const known = this.#checks.get(t);
    if (known) return known;
    const schema = this.#schemas.get(t);
    if (!schema) return undefined;
    const check = TypeCompiler.Compile(schema);
    this.#checks.set(t, check);
    return check;
  }
}
