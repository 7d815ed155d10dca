/** How a client hears why a package was not taken. */
import { RfaasError } from "../../base/errors.ts";
import { shortage } from "../../base/shortage.ts";

export function explain(error: unknown): { code: string; message: string } {
  if (error instanceof RfaasError) return { code: String(error.code), message: error.message };
  const { code, message } = error as NodeJS.ErrnoException;
  const why = shortage(error, "the node");
  if (why !== undefined && code !== "ENOSPC" && code !== "EDQUOT")
    return {
      code: "RFAAS_PACKAGE_CACHE_FAILED",
      message: `the node cannot write its package cache: ${why}, or choose another folder with rfaas serve --cache DIR`,
    };
  if (why !== undefined)
    return {
      code: "RFAAS_PACKAGE_CACHE_FULL",
      message: `the disk of the node's package cache is full (${code}); free some of it, or choose another one with rfaas serve --cache DIR`,
    };
  return {
    code: "RFAAS_PACKAGE_CACHE_FAILED",
    message: `the node cannot write its package cache (${message}); check the folder, or choose another one with rfaas serve --cache DIR`,
  };
}
