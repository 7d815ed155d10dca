/** Whatever guests need, before the first of them boots. */
import { prepareKernel } from "./kernel.ts";
import { CannotRunGuests, preparePackages } from "./packages.ts";

/** Fetches and builds what is missing. Returns why this machine cannot run guests, or null. */
export async function prepareGuests(): Promise<string | null> {
  try {
    await preparePackages(console.error);
    await prepareKernel(console.error);
    return null;
  } catch (error) {
    if (error instanceof CannotRunGuests) return error.message;
    throw error;
  }
}
