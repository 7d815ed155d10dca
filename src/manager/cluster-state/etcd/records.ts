/** What stands in etcd beside files and bills, and whether a manager fits it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import type { Identity } from "../cluster-state.ts";

export const CLUSTER_FILE = "cluster-id";

const nullable = Type.Union([Type.String(), Type.Null()]);
export const SharedIdentity = Type.Object({
  cluster: Type.String(),
  ca: nullable,
  tokenKey: nullable,
});
export const LeaderRecord = Type.Object({ address: Type.String(), http: nullable });
export const PresentManager = Type.Object({
  address: Type.String(),
  atMs: Type.Number(),
  /** The last record of bills that its ledger has; left out by a manager that does not say so. */
  stored: Type.Optional(Type.Number()),
});

/** Undefined where it is something else: who can write to etcd may write anything. */
export function readRecord<Schema extends TSchema>(
  value: Uint8Array,
  schema: Schema,
): Static<Schema> | undefined {
  try {
    const read: unknown = JSON.parse(Buffer.from(value).toString());
    return Value.Check(schema, read) ? read : undefined;
  } catch {
    return undefined;
  }
}

/** Why a manager with this state cannot act for the cluster; undefined when it can. What the cluster has not got yet, it may bring. */
export function whyUnfit(
  own: Identity,
  shared: Identity,
  stateDir: string,
  key: string,
): string | undefined {
  const differs = (what: keyof Identity): boolean =>
    shared[what] !== null && own[what] !== shared[what];
  const files = [
    ...(differs("cluster") ? [CLUSTER_FILE] : []),
    ...(differs("ca") ? ["ca-key.pem"] : []),
    ...(differs("tokenKey") ? ["token-key.pem"] : []),
  ];
  if (files.length === 0) return undefined;
  return `this manager does not take over: what the other one has issued would not count here. Copy ${files.join(" and ")} from the other's state directory to ${stateDir} and start this one again, or, where this one has the right ones, remove ${key} from etcd (etcdctl del ${key})`;
}

/** The id of the cluster that a state directory is of; undefined where it is of none yet. */
export function clusterIn(stateDir: string): string | undefined {
  try {
    return readFileSync(join(stateDir, CLUSTER_FILE), "utf8").trim();
  } catch {
    return undefined;
  }
}
