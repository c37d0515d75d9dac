// What Kubernetes' own schemas do not say of resources: node .ci/resources.mjs MODULES FILE..., where the files are JSON lists of resources,
// and MODULES is where npm has put @kubernetes-models. Each has a namespace, or it would land wherever somebody happens to be; and custom
// ones are what their definitions say. Kinds that Kubernetes itself has are left to kubernetes-validate.

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const KINDS = {
  'argoproj.io/v1alpha1': 'argo-cd/argoproj.io/v1alpha1',
  'keda.sh/v1alpha1': 'keda/keda.sh/v1alpha1',
  'monitoring.coreos.com/v1': 'prometheus-operator/monitoring.coreos.com/v1',
};
// Those of Kubernetes have a group without a dot, or below its own domain.
const OF_KUBERNETES = /^([a-z]+\/)?v\d\w*$|^[a-z.]+\.k8s\.io\//;
// Which belong to the whole cluster; of those that may stand here.
const WITHOUT_NAMESPACE = new Set(['Namespace', 'ClusterRole', 'ClusterRoleBinding']);

async function wrong(resource, modules) {
  if (!resource.metadata.namespace && !WITHOUT_NAMESPACE.has(resource.kind)) return 'has no namespace';
  if (OF_KUBERNETES.test(resource.apiVersion)) return null;
  const group = KINDS[resource.apiVersion];
  if (!group) return `nobody here knows ${resource.apiVersion}`;
  const kinds = await import(pathToFileURL(`${modules}/node_modules/@kubernetes-models/${group}/index.js`));
  try {
    new kinds[resource.kind](resource).validate();
    return null;
  } catch (error) {
    return error.message;
  }
}

const [modules, ...files] = process.argv.slice(2);
let failed = false;
for (const file of files) {
  const resources = JSON.parse(readFileSync(file, 'utf8'));
  if (resources.length === 0) throw new Error(`${file}: no resource is in there`);
  for (const resource of resources) {
    const what = await wrong(resource, modules);
    if (!what) continue;
    console.error(`${file}: ${resource.kind}/${resource.metadata.name}: ${what}`);
    failed = true;
  }
}
process.exit(failed ? 1 : 0);
