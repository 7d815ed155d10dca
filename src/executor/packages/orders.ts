/** What the agent orders from its thread for packages, and what comes back. The thread does all work on the files of a package. */
import type { StoredPackage } from "../../protocol/package-messages.ts";
import type { PackageCacheOptions } from "./cache.ts";
import type { FoundPackage } from "./known.ts";
import type { PackageUser } from "./space.ts";

/** With what the thread is started. */
export interface PackageThreadData {
  cache: Pick<
    PackageCacheOptions,
    "folder" | "limitBytes" | "userLimitBytes" | "packageLimitBytes"
  >;
}

/** A package that is taken in. */
export interface Receipt {
  upload: number;
  name: string;
  /** Indices of the files whose bytes must be sent, in this order. */
  missing: readonly number[];
}

/** How far it has come. */
export interface Progress {
  storedBytes: number;
  complete: boolean;
}

/** By name, what each order takes and gives. */
export interface PackageOrders {
  find: [{ hash: string }, FoundPackage | null];
  /** `held` are the packages that leases of this node use. */
  receive: [
    { hash: string; manifest: Uint8Array; held: readonly string[]; from: PackageUser },
    Receipt,
  ];
  /** One after another for each upload. */
  write: [{ upload: number; bytes: Uint8Array }, Progress];
  finish: [{ upload: number }, FoundPackage];
  abandon: [{ upload: number }, null];
  /** Whether a user may have it: one that was changed since it was stored is removed. */
  check: [{ hash: string; user: PackageUser }, boolean];
  list: [Record<never, never>, Omit<StoredPackage, "leases">[]];
  remove: [{ hash: string; held: readonly string[] }, "removed" | "unknown" | "in use"];
}

export type PackageOrderName = keyof PackageOrders;

export interface PackageOrder<Name extends PackageOrderName = PackageOrderName> {
  id: number;
  name: Name;
  order: PackageOrders[Name][0];
}

export type PackageAnswer =
  | { id: number; result: unknown }
  /** `code` is one of ours where `isOurs`, else of the system. */
  | { id: number; failure: { isOurs: boolean; code: string | undefined; message: string } };
