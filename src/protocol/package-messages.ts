/**
 * How packages come to a node, and what it is asked of those it has: offer -> needs -> chunks, each acknowledged -> stored; or
 * refused at any moment.
 */
import { type Static, Type } from "@sinclair/typebox";
import { count, index, text } from "./fields.ts";

const hash = Type.String({ pattern: "^[0-9a-f]{64}$" });
const size = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });

/** A client has this package for the node: its manifest in canonical form. */
export const OfferPackage = Type.Object({
  t: Type.Literal("offer-package"),
  id: count,
  hash,
  manifest: Type.Uint8Array({ maxByteLength: 3 * 1024 * 1024 }),
});
/** The next bytes of what the node needs, file after file in the order in which it has named them. */
export const PackageChunk = Type.Object({
  t: Type.Literal("package-chunk"),
  id: count,
  bytes: Type.Uint8Array({ minByteLength: 1, maxByteLength: 1024 * 1024 }),
});
/** The client cannot go on with what it has offered. */
export const DropOffer = Type.Object({ t: Type.Literal("drop-offer"), id: count });
export const AskPackages = Type.Object({ t: Type.Literal("ask-packages"), id: count });
export const RemovePackage = Type.Object({ t: Type.Literal("remove-package"), id: count, hash });

/** Indices of the manifest's files whose contents the node does not have. */
export const NeedsFiles = Type.Object({
  t: Type.Literal("needs-files"),
  id: count,
  files: Type.Array(index, { maxItems: 20_000 }),
});
/** So many bytes of the upload are written. */
export const PackageProgress = Type.Object({
  t: Type.Literal("package-progress"),
  id: count,
  storedBytes: size,
});
export const PackageStored = Type.Object({ t: Type.Literal("package-stored"), id: count });
export const PackageRefused = Type.Object({
  t: Type.Literal("package-refused"),
  id: count,
  code: text,
  message: text,
});
/** A package in a node's cache. */
export const StoredPackage = Type.Object({
  hash,
  name: text,
  bytes: size,
  usedAtMs: Type.Number(),
  /** How many leases of this node use it. */
  leases: index,
});
export type StoredPackage = Static<typeof StoredPackage>;
export const Packages = Type.Object({
  t: Type.Literal("packages"),
  id: count,
  packages: Type.Array(StoredPackage),
});
export const PackageRemoved = Type.Object({ t: Type.Literal("package-removed"), id: count });
