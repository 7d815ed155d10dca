declare module "*/dist/kit.json" {
  const kit: import("./build-kit.ts").Kit;
  export default kit;
}
