"""Loads files of `bitnetc export` with the tools they are for, and prints as JSON what the tools found in them.

usage: check.py visualizer DIR | perf FILE | dot FILE | explorer FILE
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def visualizer(folder):
    """What the backend of ttnn-visualizer answers to its page's requests."""
    from ttnn_visualizer.app import create_app
    from ttnn_visualizer.instances import create_instance_from_local_paths
    from ttnn_visualizer.tests.fixture_settings import base_test_settings

    with tempfile.TemporaryDirectory() as scratch:
        app = create_app(settings_override=base_test_settings(scratch))
        with app.app_context():
            instance = create_instance_from_local_paths(folder, None).instance_id
        client = app.test_client()

        def get(path):
            response = client.get(f"/api/{path}", query_string={"instanceId": instance})
            assert response.status_code == 200, (path, response.status_code, response.data[:300])
            return response.get_json()

        operations, tensors = get("operations"), get("tensors")
        busiest = max(operations, key=lambda operation: operation["duration"])
        return {
            "operations": len(operations),
            "duration_us": sum(operation["duration"] for operation in operations) * 1e6,
            "tensors": len(tensors),
            "unplaced": sum(tensor["address"] is None for tensor in tensors),
            "sharded": sum(isinstance(t["memory_config"]["shard_spec"], dict) for t in tensors),
            "deallocated": sum((t["lifetime"] or {}).get("deallocate_operation_id") is not None for t in tensors),
            "device": get("devices")[0],
            "busiest": get(f"operations/{busiest['id']}"),
            "buffers": sum(len(operation["buffers"]) for operation in get("operation-buffers")),
            "metadata": get("report-metadata"),
            "config": get("config"),
            "errors": get("errors"),
        }


def perf(file):
    """The rows that tt-perf-report makes of a CSV, and what it says."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made.csv"
        tool = Path(sys.executable).parent / "tt-perf-report"
        command = [tool, file, "--no-color", "--no-summary", "--csv", made]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        with open(made) as rows:
            return {"said": said, "rows": list(csv.DictReader(rows))}


def dot(file):
    """The clusters, nodes and edges of a graph."""
    import pydot

    (graph,) = pydot.graph_from_dot_file(file)
    clusters = graph.get_subgraphs()
    nodes = [node for cluster in clusters for node in cluster.get_nodes()]
    return {"clusters": len(clusters), "nodes": len(nodes), "edges": len(graph.get_edges())}


def explorer(file):
    """The graphs of a file, each built with the classes that Model Explorer's adapters return."""
    import importlib.util

    import dacite

    source = next(Path(sys.executable).parent.parent.glob("lib/*/site-packages/model_explorer/graph_builder.py"))
    spec = importlib.util.spec_from_file_location("graph_builder", source)
    builder = importlib.util.module_from_spec(spec)
    sys.modules["graph_builder"] = builder
    spec.loader.exec_module(builder)
    with open(file) as text:
        collection = json.load(text)
    config = dacite.Config(strict=True)
    graphs = [dacite.from_dict(builder.Graph, graph, config) for graph in collection["graphs"]]
    for graph in graphs:
        ids = {node.id: node for node in graph.nodes}
        assert len(ids) == len(graph.nodes), "nodes of one id"
        for node in graph.nodes:
            for edge in node.incomingEdges:
                outputs = {output.id for output in ids[edge.sourceNodeId].outputsMetadata}
                assert edge.sourceNodeOutputId in outputs, (node.id, edge)
    return {
        "label": collection["label"],
        "graphs": {
            graph.id: {
                "nodes": len(graph.nodes),
                "edges": sum(len(node.incomingEdges) for node in graph.nodes),
                "namespaces": sorted({node.namespace for node in graph.nodes}),
            }
            for graph in graphs
        },
    }


if __name__ == "__main__":
    what, path = sys.argv[1:]
    found = {"visualizer": visualizer, "perf": perf, "dot": dot, "explorer": explorer}[what](path)
    print("\n" + json.dumps(found))
