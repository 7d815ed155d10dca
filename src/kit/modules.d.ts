declare module "*/build/kit.json" {
  const kit: import("./build-kit.ts").Kit;
  export default kit;
}
