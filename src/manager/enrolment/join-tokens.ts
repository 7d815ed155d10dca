/**
 * The join tokens of a cluster: which were made, until when each is good, and which node has used it. They are files in the state
 * directory, so that a manager that runs takes those that are made meanwhile, and one that is started anew knows which are used.
 *
 * A token's file names it by its digest: who reads the directory learns no token.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { TokenRefused } from "../../base/errors.ts";
import {
  JOIN_SECRET_BYTES,
  clusterTag,
  formatJoinToken,
  readJoinToken,
} from "../../protocol/joining/join-token.ts";
import { publishOnce, replaceFile, unusable } from "../../trust/files.ts";
import { createStateDir } from "../state/state.ts";
import { clusterOf } from "../tokens/keys.ts";

const FOLDER = "join-tokens";
/** The key of each node that has joined, by its name: a token for any name gives none of these to another key. */
const MEMBERS = "members";
/** For how long it is remembered that a token was used or has expired, rather than never made. */
const MEMORY_MS = 30 * 86_400_000;

const AGAIN = "make a new one on the manager's machine: rfaas node join-token";

const time = Type.Integer({ minimum: 0, maximum: 8.64e15 });
const Made = Type.Object({
  expiresAtMs: time,
  /** Left out, the token is for a node of any name that is not taken. */
  name: Type.Optional(Type.String()),
});
const Used = Type.Object({
  node: Type.String(),
  usedAtMs: time,
  /** The key that the node has enrolled with: SHA-256 of its public half. */
  key: Type.String(),
});

export class JoinTokens {
  readonly #stateDir: string;
  readonly #folder: string;
  readonly #members: string;

  /** Those of a state directory, which is made where it is missing. Throws {@link EnvironmentError}. */
  constructor(stateDir: string) {
    createStateDir(stateDir);
    this.#stateDir = stateDir;
    this.#folder = join(stateDir, FOLDER);
    this.#members = join(stateDir, MEMBERS);
    for (const folder of [this.#folder, this.#members])
      try {
        mkdirSync(folder, { recursive: true, mode: 0o700 });
      } catch (error) {
        throw unusable(folder, error);
      }
  }

  /**
   * A new token, for one node, good for `ttlMs`. With the `name` of a node it lets that one in, also where another key has joined by the
   * name. Forgets tokens that are long over. Throws {@link EnvironmentError}.
   */
  create(ttlMs: number, nowMs: number, name?: string): string {
    this.#forget(nowMs);
    const token = formatJoinToken(clusterOf(this.#stateDir), randomBytes(JOIN_SECRET_BYTES));
    const expiresAtMs = Math.ceil(nowMs + ttlMs);
    const made: Static<typeof Made> = { expiresAtMs, ...(name === undefined ? {} : { name }) };
    publishOnce(this.#path(readJoinToken(token).id, "made"), JSON.stringify(made), 0o600);
    return token;
  }

  /**
   * Lets the node of this name and key use the token. A node that has not heard the answer may ask again, with the same key.
   *
   * @throws {TokenRefused} it is damaged, of another cluster, for another name, expired, was used, or was never made; the name is taken
   */
  redeem(text: string, node: { name: string; key: string }, nowMs: number): void {
    const { tag, id } = readJoinToken(text);
    if (tag !== clusterTag(clusterOf(this.#stateDir)))
      throw new TokenRefused(
        "foreign",
        `the join token is for another cluster than this manager's; ${AGAIN}`,
      );
    const made = this.#read(id, "made", Made);
    if (!made)
      throw new TokenRefused("foreign", `the manager has made no such join token; ${AGAIN}`);
    const used: Static<typeof Used> = { node: node.name, usedAtMs: nowMs, key: node.key };
    const before = this.#read(id, "used", Used);
    if (!before && made.expiresAtMs <= nowMs)
      throw new TokenRefused(
        "expired",
        `the join token expired at ${new Date(made.expiresAtMs).toISOString()}; ${AGAIN}`,
      );
    if (!before) this.#requireName(node, made.name);
    // Of several nodes at once, the first to make this file has used it.
    if (!before && publishOnce(this.#path(id, "used"), JSON.stringify(used), 0o600))
      return this.#keepName(node, made.name !== undefined);
    const user = before ?? this.#read(id, "used", Used);
    if (user?.key === node.key && user.node === node.name) return this.requireMember(node);
    const by = user ? ` by the node ${user.node} at ${new Date(user.usedAtMs).toISOString()}` : "";
    throw new TokenRefused(
      "used",
      `the join token was used${by}, and lets in one node only; ${AGAIN}`,
    );
  }

  /**
   * The name is still the node's: no other key has joined by it since.
   *
   * @throws {TokenRefused} another one has
   */
  requireMember(node: { name: string; key: string }): void {
    this.#keepName(node, false);
  }

  #requireName({ name, key }: { name: string; key: string }, tokenFor: string | undefined): void {
    if (tokenFor !== undefined && tokenFor !== name)
      throw new TokenRefused(
        "refused",
        `the join token is for the node ${tokenFor}, and this one is called ${name}; start it with --name ${tokenFor}, or ${AGAIN}`,
      );
    const taken = tokenFor === undefined ? this.#keyOf(name) : undefined;
    if (taken !== undefined && taken !== key) throw nameTaken(name);
  }

  #keepName({ name, key }: { name: string; key: string }, replaces: boolean): void {
    const path = this.#memberPath(name);
    if (replaces) replaceFile(path, key, 0o600);
    // Of two nodes of a new name at once, one has it.
    else if (!publishOnce(path, key, 0o600) && this.#keyOf(name) !== key) throw nameTaken(name);
  }

  #keyOf(name: string): string | undefined {
    const path = this.#memberPath(name);
    try {
      return readFileSync(path, "utf8").trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw unusable(path, error);
    }
  }

  #memberPath(name: string): string {
    // A name may be `..`.
    return join(this.#members, `node-${encodeURIComponent(name)}`);
  }

  #path(id: string, what: "made" | "used"): string {
    return join(this.#folder, `${id}.${what}`);
  }

  /** Undefined where there is no such file. */
  #read<Schema extends TSchema>(
    id: string,
    what: "made" | "used",
    schema: Schema,
  ): Static<Schema> | undefined {
    const path = this.#path(id, what);
    let text: string;
    try {
      text = readFileSync(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw unusable(path, error);
    }
    let read: unknown;
    try {
      read = JSON.parse(text);
    } catch (error) {
      throw unusable(path, error);
    }
    if (Value.Check(schema, read)) return read;
    throw unusable(path, new Error("it is damaged"));
  }

  #forget(nowMs: number): void {
    for (const file of readdirSync(this.#folder)) {
      const [id = "", what] = file.split(".");
      if (what !== "made") continue;
      const made = this.#read(id, "made", Made);
      if (!made || made.expiresAtMs + MEMORY_MS > nowMs) continue;
      // In this order: a token without the first is none.
      for (const part of ["made", "used"] as const) rmSync(this.#path(id, part), { force: true });
    }
  }
}

function nameTaken(name: string): TokenRefused {
  return new TokenRefused(
    "refused",
    `a node ${name} has joined before, with another key; if this is that node, installed anew, make a token for it on the manager's machine: rfaas node join-token ${name}`,
  );
}
